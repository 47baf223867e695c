"""Explain a validation: the steps in their order, each taken by all ranks. What nobody asks for is not among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Literal

import torch
from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_xai.callbacks.run.validation import Errors, Skipped, Step, Validation
from lightning_xai.callbacks.steps.alarming import Alarm
from lightning_xai.callbacks.steps.assumptions import check_logits
from lightning_xai.callbacks.steps.budget import Budget
from lightning_xai.callbacks.steps.failures import ShownFailures
from lightning_xai.callbacks.steps.gathering import Gathering
from lightning_xai.callbacks.steps.hearing import Hearing
from lightning_xai.callbacks.steps.progress import evaluations_shown
from lightning_xai.callbacks.steps.rehearsal import Rehearsal
from lightning_xai.callbacks.steps.room import choose_size, with_room
from lightning_xai.callbacks.steps.telling import Telling
from lightning_xai.loggers.log_picture import scalar_step
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.model.layer.search import look_at
from lightning_xai.model.preserve import preserved
from lightning_xai.probing.explained import Answers, Explained, ExplainedEpoch, explained, joined
from lightning_xai.probing.keys import Keys, correct_on_probe
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import references_of_size
from lightning_xai.probing.processes import merged, of_all, shares_of
from lightning_xai.probing.validation import accuracy_of


class Engine:
    """Explain, remember, log; survive errors.

    Args:
        plan: What is asked about each image.
        keys: The names of what is logged.
        gathering: Finds the images.
        telling: The reports.
        on_error: Whether an error skips the values with a warning or ends the run.
        max_overhead: Share of a fit's time that explaining may take; None for no bound.

    Attributes:
        rehearsal: Tries one image.
        hearing: Listens to the validation's own steps; None if nobody wants what they say.
    """

    def __init__(
        self,
        plan: Plan,
        keys: Keys,
        gathering: Gathering,
        telling: Telling,
        on_error: Literal["warn", "raise"],
        max_overhead: float | None = None,
    ) -> None:
        self._plan, self._keys, self._gathering, self._telling = plan, keys, gathering, telling
        self._errors = Errors(on_error, keys.prefix)
        self.rehearsal = Rehearsal(plan, telling, self._errors)
        self._failures = None
        if telling.num_failures or telling.followed:
            self._failures = ShownFailures(plan, telling.num_failures, telling.followed)
        self._budget = None if max_overhead is None else Budget(max_overhead, self.ask, self._failures)
        self._alarm = None if plan.alarm is None else Alarm(plan.alarm, keys)
        self.hearing = None
        if telling.wants_logits or self._alarm is not None:
            self.hearing = Hearing(gathering.sample_from_batch, self._failures, for_reports=telling.wants_logits)

    @property
    def steps(self) -> list[Step]:
        """What is done about a validation, in order; made anew, because copies of a monitor must hold no closures."""
        agreeing, alarm, budget = self._errors.agreeing, self._alarm, self._budget
        steps: list[Step | None] = [
            self._errors.agree_so_far,
            self.rehearsal,  # before the probe is gathered, because which labels are classes is the model's to say
            agreeing(self._gathering),
            choose_size,
            budget or self.ask,
            self.hearing,
            self._failures,
            agreeing(self.sum_up, *([] if alarm is None else [alarm.judge])),
            _remember,
            None if alarm is None else alarm.tell,
            self.publish,
            _tell_share if budget is None else budget.tell,
        ]
        return [step for step in steps if step is not None]

    def explain(self, at: Validation) -> ExplainedEpoch | None:
        """Take every step.

        Returns:
            The epoch, the same on every rank; None if a rank met an error: that was told, and this validation has no
            values.
        """
        at.began = perf_counter()
        try:
            for step in self.steps:
                step(at)
        except Skipped:
            return None
        return at.epoch

    def ask(self, at: Validation) -> None:
        """Ask about each probe: every rank about its share of the images, then all have the answers about all."""
        began = perf_counter()
        for loader in sorted(at.probes):  # all ranks, and a resumed run, choose a layer by the same images
            look_at(at.module, (item.image for item in at.probes[loader].items))
        self._errors.agreeing(partial(with_room, self._ask_about_share))(at)
        at.answers = {
            i: [
                part.each(partial(merged, at.processes, count=len(places)))
                for part, places in zip(parts, at.probes[i].places_by_size, strict=True)
            ]
            for i, parts in at.answers.items()
        }
        if at.module.device.type == "cuda":  # which answers before it has computed
            torch.cuda.synchronize(at.module.device)
        at.seconds_asking = perf_counter() - began

    def _ask_about_share(self, at: Validation) -> None:
        # a share of each group of images of one size: so every rank makes the same number of forwards
        shares = {loader: shares_of(at.processes, probe.places_by_size) for loader, probe in at.probes.items()}
        with preserved(at.module), self._evaluations_shown(at, shares) as count:
            at.classifier = at.new_classifier(count)
            at.answers = {i: [self._answers(at, i, places) for places in groups] for i, groups in shares.items()}
        at.run.note_room(at.classifier.images_without_gradients, at.module.device, at.readout.chunk_size)

    def _evaluations_shown(
        self, at: Validation, shares: Mapping[int, Sequence[Sequence[int]]]
    ) -> AbstractContextManager[Callable[[int], object] | None]:
        if at.trainer.progress_bar_callback is None:
            return nullcontext()
        cost = self._plan.evaluations(annotated=at.run.annotated)
        images = sum(len(places) for groups in shares.values() for places in groups)
        return evaluations_shown(at.trainer, None if cost is None else cost * images)

    def _answers(self, at: Validation, loader: int, places: list[int]) -> Answers:
        """Return the answers about some images of a loader's probe, all of one size."""
        probe, device = at.probes[loader], at.module.device
        sample = probe.sample(places, device)
        references = None
        if self._plan.num_references:
            height, width = sample.images.shape[2:]
            references = references_of_size(at.run.references.get(loader, []), (height, width))
        return self._plan.answers(
            at.classifier,
            sample,
            torch.tensor(probe.labels, device=device)[places],
            previous=probe.previous_of(places),
            previous_target=None if probe.previous_target is None else probe.previous_target[places],
            references=references,
            value_range=probe.value_range,
        )

    def sum_up(self, at: Validation) -> None:
        """Make the epoch of the answers about all images: what is known about each of them, and every logged value."""
        at.measured |= {
            "seconds": perf_counter() - at.began,
            "model_evaluations": float(at.classifier.evaluations * at.trainer.world_size),
        }
        task = at.classifier.task
        loaders: dict[int, Explained] = {}
        estimates: dict[str, Estimate] = {}
        for loader, parts in at.answers.items():
            answers, index = joined(parts, at.probes[loader].places_by_size), at.run.index_in_keys(loader)
            check_logits(answers.logits, task, at.readout, at.run, loader)
            at.heatmaps[loader] = answers.heatmaps
            loaders[loader] = self._explained(at, loader, answers)
            estimates |= self._keys.values(loaders[loader], task, index)
            estimates |= {self._keys.full(key, loader=index): Estimate(one) for key, one in at.measured.items()}
        loaded = None if at.run.stage == "fit" else at.run.loaded
        at.epoch = ExplainedEpoch(
            epoch=at.trainer.current_epoch if loaded is None else loaded[0],
            step=scalar_step(at.trainer) if loaded is None else loaded[1],
            stage=at.run.stage,
            estimates=estimates,
            loaders=loaders,
            task=task,
            seconds=at.measured["seconds"],
            evaluations=int(at.measured["model_evaluations"]),
            checkpoint=None if at.run.stage == "fit" or at.trainer.ckpt_path is None else str(at.trainer.ckpt_path),
        )

    def _explained(self, at: Validation, loader: int, answers: Answers) -> Explained:
        """Return what is known about the images of a loader's probe."""
        probe, task = at.probes[loader], at.classifier.task
        found = explained(answers, probe.keys, probe.labels, task, self._plan.metrics(annotated=probe.annotated))
        right = at.accuracy.get(loader) or accuracy_of(correct_on_probe(found, task), found.labels)
        ids = None if self._telling.private else probe.ids
        return replace(found, value_range=probe.value_range, ids=ids, groups=probe.groups, accuracy=right)

    def publish(self, at: Validation) -> None:
        """Let each report tell the epoch, then log the values: the last, so that every logger gets one row."""
        to_loggers = self._telling.publish(at)
        values = {key: one.value for key, one in at.epoch.estimates.items() if math.isfinite(one.value)}
        at.run.last_values.update(values)
        # reports run on rank zero, but every rank has to say the same about a value
        to_loggers = of_all(at.processes, to_loggers)[0]
        for name, value in values.items():
            at.module.log(
                name,
                value,
                logger=None if name in to_loggers else False,  # None: without a warning where there is no logger
                batch_size=1,
                add_dataloader_idx=False,
                sync_dist=at.trainer.world_size > 1,
            )


def _remember(at: Validation) -> None:
    at.run.remember(at.epoch)


def _tell_share(at: Validation) -> None:
    """Say once which share of an epoch explaining takes."""
    of_epoch = at.run.time.of_epoch
    if len(at.run.epochs) == 1 and of_epoch is not None:
        rank_zero_info(
            f"ExplanationMonitor took {at.epoch.seconds:.1f} s, {at.epoch.seconds / max(of_epoch, 1e-9):.0%} of this "
            "epoch so far. To spend less: every_n_epochs, num_images, fewer metrics, or a bound, max_overhead."
        )
