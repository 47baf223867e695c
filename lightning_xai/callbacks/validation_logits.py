"""The logits of a whole validation, of all processes, for the reports that want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai.callbacks.run_state import RunState
from lightning_xai.callbacks.watched_validation import MOST_IMAGES, WatchedValidation
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout
from lightning_xai.probing.batches import SampleFromBatch, images_and_labels, sample_from_batch
from lightning_xai.probing.processes import Processes, of_all
from lightning_xai.probing.validation import ValidationLogits, ValidationShare, joined_shares

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


def begin_listening(trainer: Trainer, module: LightningModule, run: RunState, readout: Readout) -> None:
    """Listen to the steps of the validation that begins, if it is explained."""
    if run.due and not trainer.sanity_checking:
        redirected = trainer.strategy.model is not module
        most_images = -(-MOST_IMAGES // trainer.world_size)
        run.listening = WatchedValidation(module, readout, redirected=redirected, most_images=most_images)


def listen(run: RunState, module: LightningModule, batch: Any, loader: int, read: SampleFromBatch) -> None:
    """Note the images and labels of the step that begins, where anybody listens."""
    if run.listening is None or run.listening.problem is not None:
        return
    try:
        if read is sample_from_batch:
            images, labels = images_and_labels(batch)
        else:
            with preserved(module):
                sample = read(batch)
            images, labels = sample.images, sample.labels
        run.listening.begin_batch(loader, images, labels)
    except Exception as error:  # of a user's function, or a batch unlike the first
        run.listening.give_up(f"a batch cannot be read: {error}")


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
