"""Explain the probe of every loader (each rank its share, then one merge), log the values, let reports tell them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai._lightning import MisconfigurationException, is_misconfiguration
from lightning_xai.callbacks.alarming import Raised, tell_alarms, with_alarm
from lightning_xai.callbacks.assumptions import WatchedStep, check_labels, check_logits, warn_of_annotations
from lightning_xai.callbacks.budget import Budget
from lightning_xai.callbacks.failures import (
    failures_of,
    wanted_failures,
    watching,
    with_heatmaps,
    worth_of_failures,
)
from lightning_xai.callbacks.progress import evaluations_shown
from lightning_xai.callbacks.run_state import RunState
from lightning_xai.callbacks.telling import run_for_reports, tell
from lightning_xai.callbacks.validation_logits import WatchImages, validation_accuracy, validation_logits
from lightning_xai.callbacks.watchers import would_stop
from lightning_xai.loggers.log_picture import scalar_step
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layout import reads_channels_last
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout
from lightning_xai.model.restore.tensors import is_sharded
from lightning_xai.probing.answers import Answers, joined
from lightning_xai.probing.explained import Explained, ExplainedEpoch, explained
from lightning_xai.probing.failures import Failure
from lightning_xai.probing.keys import OVERHEAD, Keys, correct_on_probe
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import Probe, references_of_size
from lightning_xai.probing.processes import (
    Processes,
    agreed_probe,
    all_succeeded,
    first_error,
    merged,
    of_all,
    shares_of,
)
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.validation import Accuracy, ValidationLogits, accuracy_of
from lightning_xai.reports.report import Report

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Answered:
    """What all ranks found about some probes.

    Attributes:
        by_loader: Loader's index -> the answers about each group of images of one size.
        classifier: The one that was asked, on this rank.
        seconds: That it took.
        overhead: Share of the fit's time so far that explaining took, the same on every rank; None if nobody asks.
    """

    by_loader: Mapping[int, Sequence[Answers]]
    classifier: Classifier
    seconds: float
    overhead: float | None


@dataclass(frozen=True)
class Engine:
    """Explain, remember, log; survive errors.

    Attributes:
        plan: What is asked about each image.
        keys: The names of what is logged.
        readout: How the model is read.
        reports: Who tells an explained epoch.
        on_error: Whether an error skips the values with a warning or ends the run.
        budget: How many images are explained.
        private: Whether reports keep images and ids to themselves.
    """

    plan: Plan
    keys: Keys
    readout: Readout
    reports: Sequence[Report]
    on_error: Literal["warn", "raise"]
    budget: Budget
    private: bool = False

    def try_one_image(self, trainer: Trainer, module: LightningModule, run: RunState) -> bool:
        """Send the first image of each loader through everything, so that errors of configuration show; return True."""
        with preserved(module):
            classifier = self._classifier(trainer, module, run)
            for loader, sample in run.samples.items():
                classifier.with_extra(sample.extra).check_output(sample.images)
                labels = torch.full((1,), -1, device=sample.images.device)
                if sample.labels is not None:
                    labels = sample.labels if sample.labels.ndim == 1 else sample.labels.int().argmax(1)
                # before references are gathered, the image and its mirror image stand in: some need their spread
                pair = [*sample.images, *sample.images.flip(-1)]
                references = self._references(run.references.get(loader, pair), sample)
                asked = sample
                if run.annotated_loaders.get(loader) and not sample.annotated:  # other ranks' images are
                    asked = replace(sample, masks=torch.zeros_like(sample.images[:, 0], dtype=torch.bool))
                run.num_classes = self.plan.answers(classifier, asked, labels, references=references).logits.shape[1]
                if not run.tried:
                    warn_of_annotations(classifier.task, sample)
            run.channels_last = run.channels_last is not False and _all_read_channels_last(classifier, run)
        for report in self.reports:
            check: Callable[[object], None] | None = getattr(report, "check", None)
            if trainer.sanity_checking and check is not None:
                for sample in run.samples.values():
                    check(sample)
        run.tried = True
        return True

    def check_configuration(self, trainer: Trainer, module: LightningModule, run: RunState) -> None:
        """Try one image; raise on every rank, and at one moment, what is wrong on any.

        Raises:
            Exception: What the comparison of calls or the image met on this rank.
            RuntimeError: If another rank met it.
        """
        error = run.error if is_misconfiguration(run.error) else None
        self._raise_on_all(trainer, error)
        try:
            self.try_one_image(trainer, module, run)
        except Exception as caught:
            error = caught
        self._raise_on_all(trainer, error)
        _agree_on_layout(trainer, run)

    def compare_calls(self, trainer: Trainer, module: LightningModule, run: RunState, step: WatchedStep) -> None:
        """Hold what a validation step sent through the model against what we would send; the end of it tells.

        An error waits there until all ranks can agree on it: one that raised alone would leave the others waiting.
        """
        try:
            with preserved(module):
                sample = run.samples[0]
                step.compare(sample, self._classifier(trainer, module, run).with_extra(sample.extra).logits)
        except Exception as error:
            run.error = run.error or error

    def explain(self, trainer: Trainer, module: LightningModule, run: RunState) -> ExplainedEpoch | None:
        """Gather probes where there are none yet, explain them, remember, log and tell what was found.

        Returns:
            The epoch, the same on every rank; None if a rank met an error: that was told, and this validation has no
            values.
        """
        began = perf_counter()
        if not self._is_ready(trainer, module, run):
            return None
        probes = self.budget.trial(trainer, run)
        answered = self._answered(trainer, module, run, probes)
        if answered is not None and probes is not run.probes:
            beside = worth_of_failures(self.plan, wanted_failures(self.reports)[0], annotated=run.annotated)
            beside *= 0 if self.private else len(probes)
            self.budget.choose(trainer, run, processes_of(trainer), probes, answered.seconds, beside)
            if any(len(run.probes[loader]) > len(probe) for loader, probe in probes.items()):
                answered = self._answered(trainer, module, run, run.probes)
        if answered is None:
            return None
        validation, accuracy = self._heard(trainer, run, answered.classifier)
        failures = self._failures(trainer, module, run, answered.classifier, validation)
        seconds = perf_counter() - began
        told = self._attempted(trainer, run, lambda: self._epoch(trainer, run, answered, seconds, accuracy))
        if told is None:
            return None
        epoch, raised, heatmaps = told
        run.remember(epoch)
        tell_alarms(trainer, run, epoch, raised)
        self._publish(trainer, module, run, epoch, heatmaps, validation, failures)
        return epoch

    def _is_ready(self, trainer: Trainer, module: LightningModule, run: RunState) -> bool:
        """Return whether there are probes to explain; every rank must call it."""
        if not all_succeeded(processes_of(trainer), run.error is None):
            self._report_error(trainer, run, run.error)
            return False
        # before the probe is gathered, because which labels are classes is the model's to say
        if not run.tried:
            if not self._attempted(trainer, run, lambda: self.try_one_image(trainer, module, run)):
                return False
            _agree_on_layout(trainer, run)
        return self._attempted(trainer, run, lambda: self._gather(trainer, run)) is not None

    def _answered(
        self, trainer: Trainer, module: LightningModule, run: RunState, probes: Mapping[int, Probe]
    ) -> _Answered | None:
        """Return the answers of all ranks about each probe; None if a rank met an error; every rank must call it."""
        began = perf_counter()
        found = self._attempted(trainer, run, lambda: self._answers_about_share(trainer, module, run, probes))
        if found is None:
            return None
        answers = {i: _gathered(trainer, parts, probes[i].places_by_size) for i, parts in found[0].items()}
        if module.device.type == "cuda":  # which answers before it has computed
            torch.cuda.synchronize(module.device)
        overhead = None
        if self.keys.budgeted and run.stage == "fit":
            overhead = max(of_all(processes_of(trainer), run.time.overhead))
        return _Answered(answers, found[1], perf_counter() - began, overhead)

    def _failures(
        self,
        trainer: Trainer,
        module: LightningModule,
        run: RunState,
        classifier: Classifier,
        validation: Mapping[int, ValidationLogits],
    ) -> dict[int, list[Failure]]:
        """Return the failures that reports show, with heatmaps; none where explaining them failed on some rank."""
        num_images, followed = wanted_failures(self.reports)
        if self.private or not (num_images or followed):
            return {}
        failures = failures_of(processes_of(trainer), run, validation, num_images)
        explained: dict[int, list[Failure]] = {}
        error: Exception | None = None
        try:
            with preserved(module):
                for loader, images in failures.items():
                    references = run.references.get(loader, [])
                    explained[loader] = with_heatmaps(images, self.plan, classifier, references, module.device)
        except Exception as caught:  # the scores are there: what is shown beside them must not cost them
            error = caught
        reason = first_error(processes_of(trainer), error)
        if reason is not None:
            rank_zero_warn(f"ExplanationMonitor shows no failures of epoch {trainer.current_epoch}: {reason}")
        return explained if reason is None else {}

    def watching(self, trainer: Trainer, module: LightningModule, run: RunState) -> WatchImages | None:
        """Return what keeps the images of the validation that begins that reports show; None if none does."""
        num_images, followed = wanted_failures(self.reports)
        if self.private or not (num_images or followed):
            return None
        return watching(run, self._classifier(trainer, module, run), followed)

    def _heard(
        self, trainer: Trainer, run: RunState, classifier: Classifier
    ) -> tuple[dict[int, ValidationLogits], dict[int, Accuracy]]:
        """Return the logits of the whole validation, if a report wants them, and its accuracy, by loader."""
        if not any(report.wants_validation_logits for report in self.reports):
            return {}, validation_accuracy(processes_of(trainer), run, classifier)
        heard = validation_logits(processes_of(trainer), run, classifier)
        accuracy = {loader: one.accuracy for loader, one in heard.items()}
        return heard, {loader: one for loader, one in accuracy.items() if one is not None}

    def _answers_about_share(
        self, trainer: Trainer, module: LightningModule, run: RunState, probes: Mapping[int, Probe]
    ) -> tuple[dict[int, list[Answers]], Classifier]:
        """Return the answers about this rank's share of each group of every probe, and the classifier asked."""
        # a share of each group of images of one size: so every rank makes the same number of forwards
        shares = {loader: shares_of(processes_of(trainer), probe.places_by_size) for loader, probe in probes.items()}
        cost = self.plan.evaluations(annotated=run.annotated)
        total = None if cost is None else cost * sum(len(places) for groups in shares.values() for places in groups)
        has_bar = trainer.progress_bar_callback is not None
        with preserved(module), evaluations_shown(trainer, total) if has_bar else nullcontext(_ignore) as count:
            classifier = self._classifier(trainer, module, run, count)
            references = run.references
            answers = {
                i: [self._answers(module, classifier, probes[i], references.get(i, []), one) for one in shares[i]]
                for i in shares
            }
        run.note_images_per_forward(classifier.chunk_size, module.device)
        return answers, classifier

    def _answers(
        self,
        module: LightningModule,
        classifier: Classifier,
        probe: Probe,
        references: Sequence[Tensor],
        places: list[int],
    ) -> Answers:
        sample = probe.sample(places, module.device)
        return self.plan.answers(
            classifier,
            sample,
            torch.tensor(probe.labels, device=module.device)[places],
            previous=probe.previous_of(places),
            previous_target=None if probe.previous_target is None else probe.previous_target[places],
            references=self._references(references, sample),
            value_range=probe.value_range,
        )

    def _references(self, references: Sequence[Tensor], sample: Sample) -> Tensor | None:
        """Return the reference images in the size of a sample, None if no explainer needs any."""
        height, width = sample.images.shape[2:]
        return references_of_size(references, (height, width)) if self.plan.num_references else None

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
            chunk_size=run.images_per_forward(module.device),
            on_evaluated=on_evaluated or _ignore,
            channels_last=run.tried and run.channels_last is True,
        )

    def _gather(self, trainer: Trainer, run: RunState) -> bool:
        """Agree on the probe of each loader that was looked through; return True."""
        num_images = self.budget.effort(run).num_images
        for loader, selection in sorted(run.selections.items()):
            counts = of_all(processes_of(trainer), None if selection.offers.annotated else selection.class_counts)
            # where annotated images come first, a probe is no sample of its classes
            run.class_counts[loader] = sum((one for one in counts if None not in counts and one), Counter())
            if self.plan.num_references:
                count = self.plan.num_references
                references = agreed_probe(processes_of(trainer), selection, count, [], run.num_classes)
                run.references[loader] = [item.image for item in references.items]
            wanted = run.wanted(loader)
            probe = agreed_probe(processes_of(trainer), selection, num_images, wanted, run.num_classes)
            if self.plan.target == "label" and run.num_classes is not None:
                check_labels(probe.labels, run.num_classes)
            differences = run.accept(loader, probe)
            if differences:
                rank_zero_warn(f"ExplanationMonitor {', and '.join(differences)}.")
        run.selections = {}
        return True

    def _epoch(
        self,
        trainer: Trainer,
        run: RunState,
        answered: _Answered,
        seconds: float,
        accuracy: Mapping[int, Accuracy],
    ) -> tuple[ExplainedEpoch, Raised, dict[int, Mapping[str, Tensor]]]:
        """Return the epoch from the answers about each group of each probe, its alarms, and the raw heatmaps."""
        answers = {i: joined(parts, run.probes[i].places_by_size) for i, parts in answered.by_loader.items()}
        classifier = answered.classifier
        evaluations = classifier.evaluations * trainer.world_size
        loaders: dict[int, Explained] = {}
        estimates: dict[str, Estimate] = {}
        for loader, found in answers.items():
            probe, index = run.probes[loader], run.index_in_keys(loader)
            check_logits(found.logits, classifier.task, self.readout, first=not run.epochs)
            metrics = self.plan.metrics(annotated=probe.annotated)
            told = explained(found, probe.keys, probe.labels, classifier.task, metrics)
            ids = None if self.private else probe.ids
            of_probe = accuracy_of(correct_on_probe(told, classifier.task), told.labels)
            right = accuracy.get(loader, of_probe)
            loaders[loader] = replace(told, value_range=probe.value_range, ids=ids, groups=probe.groups, accuracy=right)
            estimates |= self.keys.values(loaders[loader], classifier.task, index)
            estimates[self.keys.full("seconds", loader=index)] = Estimate(seconds)
            estimates[self.keys.full("model_evaluations", loader=index)] = Estimate(float(evaluations))
            if answered.overhead is not None:
                estimates[self.keys.full(OVERHEAD.name, loader=index)] = Estimate(answered.overhead)
        loaded = None if run.stage == "fit" else run.loaded
        epoch = ExplainedEpoch(
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
        return *with_alarm(epoch, run, self.keys), {i: found.heatmaps for i, found in answers.items()}

    def _publish(
        self,
        trainer: Trainer,
        module: LightningModule,
        run: RunState,
        epoch: ExplainedEpoch,
        heatmaps: Mapping[int, Mapping[str, Tensor]],
        validation: Mapping[int, ValidationLogits],
        failures: Mapping[int, Sequence[Failure]],
    ) -> None:
        """Let each report tell the epoch, then log the values: the last, so that every logger gets one row."""
        on_cpu = {i: {name: maps.cpu() for name, maps in by_name.items()} for i, by_name in heatmaps.items()}
        told = run_for_reports(trainer, run, self.keys, on_cpu, validation, failures, private=self.private)
        tell(trainer, self.reports, f"epoch {epoch.epoch}", lambda report: report.publish(epoch, told))
        self.budget.tell(run, epoch)
        values = {key: one.value for key, one in epoch.estimates.items() if math.isfinite(one.value)}
        run.last_values.update(values)
        # reports run on rank zero, but every rank has to say the same about a value
        _log(trainer, module, values, to_loggers=of_all(processes_of(trainer), frozenset(told.to_loggers))[0])

    def _attempted(self, trainer: Trainer, run: RunState, attempt: Callable[[], Result]) -> Result | None:
        """Return the result of ``attempt``; None if it failed on some rank, which is said, or raised, on all."""
        result: Result | None = None
        error: Exception | None = None
        try:
            result = attempt()
        except Exception as caught:
            error = caught
        if all_succeeded(processes_of(trainer), error is None):
            return result
        self._report_error(trainer, run, error)
        return None

    def _raise_on_all(self, trainer: Trainer, error: Exception | None) -> None:
        reason = first_error(processes_of(trainer), error)
        if reason is not None:
            raise error or RuntimeError(f"Explaining failed on {reason}")

    def _report_error(self, trainer: Trainer, run: RunState, error: Exception | None) -> None:
        reason = str(first_error(processes_of(trainer), error))
        misconfigured = is_misconfiguration(error) or (not run.tried and isinstance(error, (TypeError, ValueError)))
        if self.on_error == "raise" or any(of_all(processes_of(trainer), misconfigured)):
            raise error or RuntimeError(f"Explaining failed on {reason}")
        run.failures += 1
        if not run.epochs and would_stop(trainer, self.keys.prefix, run.failures, run.last_values):
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


def _all_read_channels_last(classifier: Classifier, run: RunState) -> bool:
    """Return whether an image of each loader and its mirror image give the same logits in that layout, on a CPU.

    What it costs elsewhere was not measured; an error in the forward of a sharded model would not end well.
    """
    devices = {sample.images.device.type for sample in run.samples.values()}
    if devices != {"cpu"} or is_sharded(list(classifier.model.modules())):
        return False
    return all(
        reads_channels_last(
            classifier.with_extra(sample.extra).rows(torch.zeros(2, dtype=torch.int64)),
            torch.cat([sample.images, sample.images.flip(-1)]),
        )
        for sample in run.samples.values()
    )


def _agree_on_layout(trainer: Trainer, run: RunState) -> None:
    """Take a layout that works on every rank, or the usual one; every rank must call it."""
    run.channels_last = all_succeeded(processes_of(trainer), run.channels_last is True)


def processes_of(trainer: Trainer) -> Processes:
    """Return the processes of a Trainer: every strategy that can run has a rank, though not their common base class."""
    return cast("Processes", trainer.strategy)


def _log(
    trainer: Trainer,
    module: LightningModule,
    values: Mapping[str, float],
    *,
    to_loggers: frozenset[str],
) -> None:
    """Log values for monitors, and some of them for loggers."""
    for name, value in values.items():
        module.log(
            name,
            value,
            logger=None if name in to_loggers else False,  # None: without a warning where there is no logger
            batch_size=1,
            add_dataloader_idx=False,
            sync_dist=trainer.world_size > 1,
        )


def _gathered(trainer: Trainer, answers: Sequence[Answers], groups: Sequence[Sequence[int]]) -> list[Answers]:
    """Return the answers of all ranks about each group, in its order."""
    merge = partial(merged, processes_of(trainer))
    return [part.each(partial(merge, count=len(group))) for part, group in zip(answers, groups, strict=True)]
