"""How many images without gradients go through a model together on a GPU, where more of them make each cheaper."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.live_bytes import live_bytes
from lightning_xai.model.preserve import preserved

_MOST = 256
_WORTH = 0.9  # of the time that an image took before
_REPEATS = 3


def cheapest_size(classifier: Classifier, image: Tensor, room: int) -> int:
    """Return how many images without gradients should go through a model together, at least ``classifier.chunk_size``.

    The size is doubled while an image takes at least a tenth less time, and no further than half of ``room`` allows,
    by the tensors that a forward of ``chunk_size`` images holds at a time: the other half is for what kernels need
    themselves, and for the images that wait. Nothing is counted as an evaluation of the probe.

    Args:
        classifier: The model; one that is not sharded, as no other process takes part.
        image: (1, C, H, W), of the greatest size.
        room: Bytes that may be used; see `images_per_forward.proven_room`.
    """
    size, device = classifier.chunk_size, image.device

    def forward(count: int) -> None:
        images = image.expand(count, *image.shape[1:]).clone()
        with preserved(classifier.model), torch.no_grad():
            classifier.rows(torch.zeros(count, dtype=torch.int64)).forward(images)

    needed = live_bytes(lambda: forward(size), device.type)
    most = min(_MOST, size * (room // 2) // max(needed, 1))
    return grown(size, most, lambda count: _seconds(lambda: forward(count), device))


def grown(size: int, most: int, seconds: Callable[[int], float]) -> int:
    """Return ``size``, doubled to ``most`` at most while a forward of twice the images takes clearly less than twice.

    Args:
        size: To begin with.
        most: Not to be exceeded by doubling.
        seconds: Returns the time of a forward of so many images.

    Example:
        >>> grown(8, 100, lambda count: max(count, 30.0))  # a device that is busy from 30 images on
        32
    """
    if 2 * size > most:
        return size
    took = seconds(size)
    while 2 * size <= most:
        longer = seconds(2 * size)
        if longer > 2 * _WORTH * took:
            break
        size, took = 2 * size, longer
    return size


def _seconds(forward: Callable[[], None], device: torch.device) -> float:
    """Return the least time of some forwards after one that lets the device choose its kernels."""
    forward()
    return min(_once(forward, device) for _ in range(_REPEATS))


def _once(forward: Callable[[], None], device: torch.device) -> float:
    _wait(device)
    began = perf_counter()
    forward()
    _wait(device)
    return perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
