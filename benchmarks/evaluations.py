"""How many images go through a model, and as many raw forward passes to compare a time with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def evaluations(model: nn.Module, work: Callable[[], object]) -> int:
    """Return the images that go through ``model``, and through copies made of it, during ``work``."""
    count = 0

    def add(_: nn.Module, __: object, logits: Tensor) -> None:
        nonlocal count
        count += len(logits)

    handle = model.register_forward_hook(add)
    try:
        work()
    finally:
        handle.remove()
    return count


def forwards(model: nn.Module, batch: Tensor, count: int) -> Callable[[], None]:
    """Return what passes ``count`` images through ``model`` in batches that are ready."""

    def run() -> None:
        with torch.no_grad():
            for start in range(0, count, len(batch)):
                model(batch[: count - start])

    return run
