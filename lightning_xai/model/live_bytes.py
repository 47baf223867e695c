"""How much memory the tensors of a piece of work need at its peak, on any device, without touching its statistics."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def live_bytes(work: Callable[[], object], device: str) -> int:
    """Return the most bytes that tensors made by ``work`` on a type of device held at a time.

    What kernels allocate for themselves is not among them. Resetting the peak that a CUDA allocator keeps would show
    that, but the user may read that peak too.

    Args:
        work: What is measured.
        device: Type of the device, such as ``"cuda"``.

    Example:
        >>> live_bytes(lambda: (torch.ones(2) + 1.0).sum(), "cpu")  # both pairs of float32 at a time
        16
    """
    live = _Live(device)
    with live:
        work()
    return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of every storage that an operation returns, until it is freed."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._device = device
        self._now = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        outside = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if self._counts(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if self._counts(leaf) and leaf.untyped_storage().data_ptr() not in outside:
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

    def _counts(self, leaf: object) -> bool:
        if not isinstance(leaf, Tensor) or leaf.device.type != self._device:
            return False
        return leaf.untyped_storage().nbytes() > 0
