"""How many images go through the model together in a run: chosen once on a GPU, fewer where memory is short, agreed."""

from __future__ import annotations

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch.cuda import OutOfMemoryError

from lightning_xai.callbacks.run.validation import Step, Validation
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.growth import cheapest_size
from lightning_xai.model.images_per_forward import proven_room, shortage
from lightning_xai.model.restore.tensors import is_sharded
from lightning_xai.probing.processes import of_all


def choose_size(at: Validation) -> None:
    """Choose once in a fit how many images without gradients go through the model together on a GPU.

    The first rank chooses, within the memory that training has used on every rank; all take it, and checkpoints keep
    it. Nothing is chosen on a CPU, for a sharded model, or where ``Readout(chunk_size=...)`` says it. Every rank must
    call it.
    """
    run, room = at.run, proven_room(at.module.device)
    is_chosen = run.grown is not None or at.readout.chunk_size is not None
    if run.stage != "fit" or is_chosen or room is None or _is_sharded(at):
        return
    classifier, least = at.new_classifier(), min(of_all(at.processes, room))
    chosen = _chosen(at, classifier, least) if at.processes.global_rank == 0 else None
    run.grown = of_all(at.processes, chosen)[0]
    if run.grown != classifier.chunk_size:
        rank_zero_info(
            f"ExplanationMonitor sends {run.grown} images through the model together where it needs no gradients; "
            f"Readout(chunk_size={run.grown}) says it beforehand."
        )


def _chosen(at: Validation, classifier: Classifier, room: int) -> int:
    """Return what is cheapest for the greatest image; the size to begin with if trying others fails."""
    try:
        places = [(probe, i) for probe in at.run.probes.values() for i in range(len(probe))]
        probe, place = max(places, key=lambda one: one[0].items[one[1]].image.numel())
        sample = probe.sample([place], at.module.device)
        return cheapest_size(classifier.with_extra(sample.extra), sample.images, room)
    except Exception:  # of a user's model or of the device: what is tried for speed must not cost the values
        return classifier.chunk_size


def with_room(attempt: Step, at: Validation) -> None:
    """Take a step; where memory was short on some rank, all take it again with fewer images at a time.

    So all make the same forwards. Ranks that share their parameters do not try again: the others wait for one that
    stopped in the middle of a forward. Every rank must call it; each raises its own error, after it has talked.

    Args:
        attempt: Evaluates as many images at a time as the run says.
        at: The validation.

    Raises:
        Exception: What ``attempt`` raised on this rank, if trying again cannot help.
    """
    run, device, asked = at.run, at.module.device, at.readout.chunk_size
    while True:
        error: Exception | None = None
        try:
            attempt(at)
        except Exception as caught:
            error = caught
        size = run.images_without_gradients(device, asked)
        again = isinstance(error, OutOfMemoryError) and size > 1 and not _is_sharded(at)
        outcomes = of_all(at.processes, None if error is None else again)
        if False in outcomes or not any(outcomes):
            _end(error, size)
            return
        error = None  # not before it is gone, and with it the tensors of the forward that failed, is there more room
        first = run.images_per_forward(device, asked)
        run.most_that_fit = first if first < size else size // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        rank_zero_warn(shortage(size, run.most_that_fit))


def _end(error: Exception | None, size: int) -> None:
    """Raise the error, if there is one; where memory was short, it says what to set."""
    if isinstance(error, OutOfMemoryError):
        raise OutOfMemoryError(
            f"There was no room for {size} images at a time, and they are not tried again with fewer, because a single "
            f"one has none, the parameters are sharded or another rank failed: set Readout(chunk_size={size // 2 or 1})"
        ) from error
    if error is not None:
        raise error


def _is_sharded(at: Validation) -> bool:
    return is_sharded(list(at.module.modules()))
