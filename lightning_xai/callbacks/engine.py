"""Explain the probe of every loader (each rank its share, then one merge), log the values, let reports tell them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_xai._lightning import MisconfigurationException, is_misconfiguration
from lightning_xai.callbacks.assumptions import WatchedStep, check_logits, warn_of_annotations
from lightning_xai.callbacks.progress import evaluations_shown
from lightning_xai.callbacks.run_state import RunState
from lightning_xai.callbacks.watchers import would_stop
from lightning_xai.loggers.log_picture import scalar_step
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout
from lightning_xai.probing.explained import Answers, Explained, ExplainedEpoch, explained
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.processes import Processes, agreed_probe, all_succeeded, merged, of_all, share_of
from lightning_xai.reports.report import Report, Run

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer

Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """Explain, remember, log; survive errors.

    Attributes:
        plan: What is asked about each image.
        keys: The names of what is logged.
        readout: How the model is read.
        reports: Who tells an explained epoch.
        on_error: Whether an error skips the values with a warning or ends the run.
        private: Whether reports keep images and ids to themselves.
    """

    plan: Plan
    keys: Keys
    readout: Readout
    reports: Sequence[Report]
    on_error: Literal["warn", "raise"]
    private: bool = False

    def try_one_image(self, trainer: Trainer, module: LightningModule, run: RunState) -> None:
        """Send the first image of each loader through everything, so that errors of configuration show themselves."""
        with preserved(module):
            classifier = self._classifier(trainer, module, run)
            for loader, sample in run.samples.items():
                classifier.check_output(sample.images)
                labels = torch.full((1,), -1, device=sample.images.device)
                if sample.labels is not None:
                    labels = sample.labels if sample.labels.ndim == 1 else sample.labels.int().argmax(1)
                # before references are gathered, the image and its mirror image stand in: some need their spread
                pair = torch.cat([sample.images, sample.images.flip(-1)])
                references = run.references.get(loader, pair) if self.plan.num_references else None
                self.plan.answers(classifier, sample, labels, references=references)
                if not run.tried:
                    warn_of_annotations(classifier.task, sample)
        for report in self.reports:
            check: Callable[[object], None] | None = getattr(report, "check", None)
            if trainer.sanity_checking and check is not None:
                for sample in run.samples.values():
                    check(sample)
        run.tried = True

    def compare_calls(self, trainer: Trainer, module: LightningModule, run: RunState, step: WatchedStep) -> None:
        """Hold what a validation step sent through the model against what we would send.

        Raises:
            MisconfigurationException: If that is something else.
        """
        try:
            with preserved(module):
                step.compare(run.samples[0], self._classifier(trainer, module, run).logits)
        except Exception as error:
            if is_misconfiguration(error):
                raise
            run.error = run.error or error  # told, or raised, where this validation is explained

    def explain(self, trainer: Trainer, module: LightningModule, run: RunState) -> ExplainedEpoch | None:
        """Gather probes where there are none yet, explain them, remember, log and tell what was found.

        Returns:
            The epoch, the same on every rank; None if a rank met an error: that was told, and this validation has no
            values.
        """
        began = time.perf_counter()
        if not all_succeeded(_processes(trainer), run.error is None):
            self._report_error(trainer, run, run.error)
            return None
        if not self._attempted(trainer, run, lambda: self._gather(trainer, run)):
            return None
        found = self._attempted(trainer, run, lambda: self._answers_about_share(trainer, module, run))
        if found is None:
            return None
        answers = {i: _merged(trainer, one, len(run.probes[i])) for i, one in found[0].items()}
        seconds = time.perf_counter() - began
        epoch = self._attempted(trainer, run, lambda: self._epoch(trainer, run, answers, found[1], seconds))
        if epoch is None:
            return None
        run.remember(epoch)
        self._publish(trainer, module, run, epoch, {i: one.heatmaps for i, one in answers.items()})
        return epoch

    def log_placeholders(self, trainer: Trainer, module: LightningModule, run: RunState, loader: int) -> None:
        """Log the last good value of each key of a loader, else its worst, for monitors only."""
        keys = self.keys.of_loader(run.index_in_keys(loader), annotated=run.samples[loader].annotated)
        values = {name: run.last_values.setdefault(name, key.worst) for name, key in keys.items()}
        _log(trainer, module, values, to_loggers=frozenset(), on_step=False, on_epoch=True)

    def promise_keys(self, trainer: Trainer, run: RunState) -> None:
        """Let monitors that ask before the first validation find every key that the sanity check foretold."""
        for loader, sample in run.samples.items():
            keys = self.keys.of_loader(run.index_in_keys(loader), annotated=sample.annotated)
            for name, key in keys.items():
                value = run.last_values.setdefault(name, key.worst)
                trainer.callback_metrics.setdefault(name, torch.tensor(value))

    def log_last_values(self, trainer: Trainer, module: LightningModule, run: RunState) -> None:
        """Log the last good values for monitors that ask before there is a validation, as after a resume."""
        _log(trainer, module, run.last_values, to_loggers=frozenset(), on_step=False, on_epoch=True)

    def _answers_about_share(
        self, trainer: Trainer, module: LightningModule, run: RunState
    ) -> tuple[dict[int, Answers], Classifier]:
        """Return the answers about this rank's share of every loader's probe, and the classifier that was asked."""
        if not run.tried:
            self.try_one_image(trainer, module, run)
        shares = {loader: share_of(_processes(trainer), len(probe)) for loader, probe in run.probes.items()}
        cost = self.plan.evaluations(annotated=run.annotated)
        total = None if cost is None else cost * sum(map(len, shares.values()))
        has_bar = trainer.progress_bar_callback is not None
        with preserved(module), evaluations_shown(trainer, total) if has_bar else nullcontext(_ignore) as count:
            classifier = self._classifier(trainer, module, run, count)
            answers = {i: self._answers(module, classifier, run, i, shares[i]) for i in shares}
        return answers, classifier

    def _answers(
        self, module: LightningModule, classifier: Classifier, run: RunState, loader: int, places: list[int]
    ) -> Answers:
        probe = run.probes[loader]
        return self.plan.answers(
            classifier,
            probe.sample(places, module.device),
            torch.tensor(probe.labels, device=module.device)[places],
            previous={name: maps[places] for name, maps in probe.previous.items()},
            previous_target=None if probe.previous_target is None else probe.previous_target[places],
            references=run.references.get(loader),
            value_range=probe.value_range,
        )

    def _classifier(
        self,
        trainer: Trainer,
        module: LightningModule,
        run: RunState,
        on_evaluated: Callable[[int], object] | None = None,
    ) -> Classifier:
        """Return the module as validation runs it; labels of several columns decide an open task."""
        readout = self.readout
        if readout.task == "auto" and run.labels_are_distributions is False:
            readout = replace(readout, task="multilabel")
        return Classifier(
            module,
            readout,
            precision=trainer.precision_plugin,
            chunk_size=run.chunk_size,
            on_evaluated=on_evaluated or _ignore,
        )

    def _gather(self, trainer: Trainer, run: RunState) -> bool:
        """Agree on the probe of each loader that was looked through, and on what labels are; return True."""
        seen = [one for one in of_all(_processes(trainer), run.labels_are_distributions) if one is not None]
        run.labels_are_distributions = all(seen) if seen else None
        for loader, selection in sorted(run.selections.items()):
            if self.plan.num_references:
                references = agreed_probe(_processes(trainer), selection, self.plan.num_references, [])
                run.references[loader] = torch.stack([item.image for item in references.items])
            probe = agreed_probe(_processes(trainer), selection, self.keys.num_images, run.wanted(loader))
            if not run.accept(loader, probe):
                rank_zero_warn(
                    "ExplanationMonitor did not find the images of the restored probe again (other data, precision or "
                    "preprocessing): it explains a new probe, and heatmap drift starts anew."
                )
        run.selections = {}
        return True

    def _epoch(
        self, trainer: Trainer, run: RunState, answers: Mapping[int, Answers], classifier: Classifier, seconds: float
    ) -> ExplainedEpoch:
        evaluations = classifier.evaluations * trainer.world_size
        loaders: dict[int, Explained] = {}
        estimates: dict[str, Estimate] = {}
        for loader, found in answers.items():
            probe, index = run.probes[loader], run.index_in_keys(loader)
            check_logits(found.logits, classifier.task, self.readout, first=not run.epochs)
            metrics = self.plan.metrics(annotated=probe.annotated)
            told = explained(found, probe.keys, probe.labels, classifier.task, metrics)
            loaders[loader] = replace(told, value_range=probe.value_range)
            estimates |= self.keys.values(loaders[loader], classifier.task, index)
            estimates[self.keys.full("seconds", loader=index)] = Estimate(seconds)
            estimates[self.keys.full("model_evaluations", loader=index)] = Estimate(float(evaluations))
        loaded = None if run.stage == "fit" else run.loaded
        return ExplainedEpoch(
            epoch=trainer.current_epoch if loaded is None else loaded[0],
            step=scalar_step(trainer) if loaded is None else loaded[1],
            stage=run.stage,
            estimates=estimates,
            loaders=loaders,
            task=classifier.task,
            seconds=seconds,
            evaluations=evaluations,
            checkpoint=None if run.stage == "fit" or trainer.ckpt_path is None else str(trainer.ckpt_path),
        )

    def _publish(
        self,
        trainer: Trainer,
        module: LightningModule,
        run: RunState,
        epoch: ExplainedEpoch,
        heatmaps: Mapping[int, Mapping[str, Tensor]],
    ) -> None:
        """Let each report tell the epoch, then log the values: the last, so that every logger gets one row."""
        on_cpu = {i: {name: maps.cpu() for name, maps in by_name.items()} for i, by_name in heatmaps.items()}
        told = Run(
            trainer, run.folder, self.keys, run.epochs, run.probes, on_cpu, run.num_loaders > 1, private=self.private
        )
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            for report in self.reports:
                try:
                    report.publish(epoch, told)
                except Exception as error:  # a full disk or a silent server must not end the run, nor another report
                    rank_zero_warn(
                        f"ExplanationMonitor's {type(report).__name__} could not tell epoch {epoch.epoch}: "
                        f"{type(error).__name__}: {error}"
                    )
        _say_share_of_epoch(run, epoch)
        values = {key: one.value for key, one in epoch.estimates.items() if math.isfinite(one.value)}
        run.last_values.update(values)
        # reports run on rank zero, but every rank has to say the same about a value
        _log(trainer, module, values, to_loggers=of_all(_processes(trainer), frozenset(told.to_loggers))[0])

    def _attempted(self, trainer: Trainer, run: RunState, attempt: Callable[[], Result]) -> Result | None:
        """Return the result of ``attempt``; None if it failed on some rank, which is said, or raised, on all."""
        result: Result | None = None
        error: Exception | None = None
        try:
            result = attempt()
        except Exception as caught:
            error = caught
        if all_succeeded(_processes(trainer), error is None):
            return result
        self._report_error(trainer, run, error)
        return None

    def _report_error(self, trainer: Trainer, run: RunState, error: Exception | None) -> None:
        reasons = of_all(_processes(trainer), None if error is None else f"{type(error).__name__}: {error}")
        reason = next(f"rank {rank}: {text}" for rank, text in enumerate(reasons) if text is not None)
        misconfigured = is_misconfiguration(error) or (not run.tried and isinstance(error, (TypeError, ValueError)))
        if self.on_error == "raise" or any(of_all(_processes(trainer), misconfigured)):
            raise error or RuntimeError(f"Explaining failed on {reason}")
        run.failures += 1
        if not run.epochs and would_stop(trainer, self.keys.prefix, run.failures):
            raise MisconfigurationException(
                f"Expected values for the early stopping on {self.keys.prefix}/…, which ends the run now, but "
                f"explaining failed in all of {run.failures} validations, at last on {reason}"
            ) from error
        run.tried = True  # what comes now is no error of configuration, and must not end the run
        rank_zero_warn(
            f"ExplanationMonitor logs nothing for epoch {trainer.current_epoch}, because explaining failed on "
            f"{reason.rstrip('.')}. Training goes on; monitored keys keep their last value. Use on_error='raise' to "
            "see where it comes from."
        )


def _ignore(_: int) -> None:
    """Take no note of evaluations; being told of them, the classifier shows no bar of its own."""


def _processes(trainer: Trainer) -> Processes:
    """Return the processes of a Trainer: every strategy that can run has a rank, though not their common base class."""
    return cast("Processes", trainer.strategy)


def _log(
    trainer: Trainer,
    module: LightningModule,
    values: Mapping[str, float],
    *,
    to_loggers: frozenset[str],
    on_step: bool | None = None,
    on_epoch: bool | None = None,
) -> None:
    """Log values for monitors, and some of them for loggers."""
    for name, value in values.items():
        module.log(
            name,
            value,
            on_step=on_step,
            on_epoch=on_epoch,
            logger=None if name in to_loggers else False,  # None: without a warning where there is no logger
            batch_size=1,
            add_dataloader_idx=False,
            sync_dist=trainer.world_size > 1,
        )


def _merged(trainer: Trainer, answers: Answers, count: int) -> Answers:
    """Return the answers of all ranks about ``count`` images, in the order of the probe."""
    return answers.each(lambda rows: merged(_processes(trainer), rows, count))


def _say_share_of_epoch(run: RunState, epoch: ExplainedEpoch) -> None:
    """Say once which share of an epoch explaining takes."""
    if len(run.epochs) == 1 and run.epoch_began is not None:
        whole = time.perf_counter() - run.epoch_began
        rank_zero_info(
            f"ExplanationMonitor took {epoch.seconds:.1f} s, {epoch.seconds / max(whole, 1e-9):.0%} of this epoch so "
            "far. To spend less: every_n_epochs, num_images, fewer metrics."
        )
