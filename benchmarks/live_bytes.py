"""How much memory a piece of work needs at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that tensors made by ``work`` held at a time, by the allocator's count on CUDA."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Live() as live:
        work()
    return live.peak


class _Live(TorchDispatchMode):
    """Count the bytes of every storage that an operation returns, until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        outside = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _counts(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _counts(leaf) and leaf.untyped_storage().data_ptr() not in outside:
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        place, size = storage.data_ptr(), storage.nbytes()

        def freed(_: object) -> None:
            self._now -= size
            self._known.pop(place, None)

        if place not in self._known:
            self._known[place] = weakref.ref(storage, freed)
            self._now += size
            self.peak = max(self.peak, self._now)


def _counts(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type == "cpu" and leaf.untyped_storage().nbytes() > 0
