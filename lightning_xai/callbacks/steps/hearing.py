"""Hear the whole validation from the user's own steps: its logits for reports that want them, and its accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.callbacks.run.watched_validation import MOST_IMAGES, MOST_VALUES, WatchedValidation
from lightning_xai.callbacks.steps.failures import ShownFailures
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.probing.batches import SampleFromBatch, sample_from_batch, unchecked_sample
from lightning_xai.probing.processes import Processes, of_all
from lightning_xai.probing.validation import Accuracy, ValidationLogits, ValidationShare, accuracy_of, joined_shares


@dataclass(frozen=True)
class Hearing:
    """Listen to the steps of a validation; as a step of explaining it, agree on what they said.

    Attributes:
        sample_from_batch: A function of a batch; that of this package knows the usual forms.
        failures: Who looks at each image as it goes by; None if nobody does.
        for_reports: Whether reports want the logits of every image; else the accuracy is all that is wanted, of a fit.
    """

    sample_from_batch: SampleFromBatch
    failures: ShownFailures | None
    for_reports: bool

    def begin(self, at: Validation) -> None:
        """Listen to the steps of the validation that begins, if it is explained."""
        run, trainer = at.run, at.trainer
        if run.due and not trainer.sanity_checking and (self.for_reports or run.stage == "fit"):
            run.listening = WatchedValidation(
                at.module,
                at.readout,
                redirected=trainer.strategy.model is not at.module,
                most_images=-(-MOST_IMAGES // trainer.world_size),
                most_values=math.inf if self.for_reports else MOST_VALUES // trainer.world_size,
                watch_images=None if self.failures is None else self.failures.watching(at),
            )

    def begin_batch(self, at: Validation, batch: Any, loader: int) -> None:
        """Note the images and labels of the step that begins, and what comes with the images."""
        listening = at.run.listening
        if listening is None or listening.problem is not None:
            return
        try:
            if self.sample_from_batch is sample_from_batch:
                sample = unchecked_sample(batch, listening.arguments)
            else:
                with preserved(at.module):
                    sample = self.sample_from_batch(batch)
            listening.begin_batch(loader, sample)
        except Exception as error:  # of a user's function, or a batch unlike the first
            listening.give_up(f"a batch cannot be read: {error}")

    def __call__(self, at: Validation) -> None:
        """Agree on the logits of the whole validation, if reports want them, and on its accuracy, by loader."""
        if not self.for_reports:
            at.accuracy = validation_accuracy(at.processes, at.run, at.classifier)
            return
        at.logits = validation_logits(at.processes, at.run, at.classifier)
        accuracy = {loader: one.accuracy for loader, one in at.logits.items()}
        at.accuracy = {loader: one for loader, one in accuracy.items() if one is not None}


def validation_logits(processes: Processes, run: RunState, classifier: Classifier) -> dict[int, ValidationLogits]:
    """Return what the steps of the validation that ends said, by loader; every process must call it.

    Nothing where no report wants it, or where the steps could not be listened to, which is said once in a run.
    """
    if run.listening is None:
        return {}
    heard = of_all(processes, _heard(run))
    problem = next((one for one in heard if isinstance(one, str)), None)
    try:
        if problem is None:
            return {loader: _read([one[loader] for one in heard], classifier, run) for loader in heard[0]}
    except Exception as error:  # logits that are no rows of one task, labels that contradict each other
        problem = str(error)
    if problem not in run.said:
        run.said.add(str(problem))
        rank_zero_warn(f"ExplanationMonitor has no logits of the whole validation for its reports: {problem}")
    return {}


def validation_accuracy(processes: Processes, run: RunState, classifier: Classifier) -> dict[int, Accuracy]:
    """Return how accurate the steps of the validation that ends were, by loader; every process must call it.

    Nothing where they could not be listened to, or where there are no labels: few numbers per image are gathered.
    """
    if run.listening is None:
        return {}
    of_ranks = of_all(processes, _answers(run, classifier))
    try:
        shares = {loader: joined_shares([one[loader] for one in of_ranks]) for loader in of_ranks[0]}
        found = {loader: _accuracy(one) for loader, one in shares.items()}
    except Exception:  # ranks that heard different things: there is the accuracy of the probe instead
        return {}
    return {loader: accuracy for loader, accuracy in found.items() if accuracy is not None}


def _accuracy(share: ValidationShare) -> Accuracy | None:
    return None if share.labels is None else accuracy_of(share.rows[:, 0] > 0, share.labels)


def _answers(run: RunState, classifier: Classifier) -> dict[int, ValidationShare]:
    """Return the keys, the labels and whether the model is right, as rows (n, 1), of what this process heard."""
    heard = _heard(run)
    try:
        return {} if isinstance(heard, str) else {loader: _answered(one, classifier) for loader, one in heard.items()}
    except Exception:  # logits that are no rows of one task
        return {}


def _answered(share: ValidationShare, classifier: Classifier) -> ValidationShare:
    labels = torch.full((len(share.keys),), -1) if share.labels is None else share.labels
    logits = ValidationLogits(share.keys, labels, classifier.read(share.rows.float()), classifier.task)
    return replace(share, labels=logits.truth, rows=logits.correct.float()[:, None])


def _heard(run: RunState) -> dict[int, ValidationShare] | str:
    if run.listening is None or run.listening.problem is not None:
        return "no step was seen" if run.listening is None else str(run.listening.problem)
    try:
        return run.listening.shares()
    except Exception as error:
        return f"its batches do not fit together: {error}"


def _read(shares: list[ValidationShare], classifier: Classifier, run: RunState) -> ValidationLogits:
    share = joined_shares(shares)
    labels = torch.full((len(share.keys),), -1) if share.labels is None else share.labels
    if not share.complete and "incomplete" not in run.said:
        run.said.add("incomplete")
        rank_zero_info(f"ExplanationMonitor keeps the logits of {MOST_IMAGES:,} images of the validation, not of all.")
    return ValidationLogits(share.keys, labels, classifier.read(share.rows.float()), classifier.task, share.complete)
