"""The way of a forward pass to a capture point: recorded once, then gone again without computing anything."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Call:
    """One torch operation before the capture point.

    Attributes:
        operation: What was called.
        result: What it returned; instead of tensors, `Kept` where they are read after the capture point, else tensors
            of the same shape without content.
        answered: Whether a replay answers it; what knows no tensor, such as setting the gradient mode, runs again.
    """

    operation: Callable[..., Any]
    result: Any
    answered: bool


@dataclass(frozen=True, eq=False)
class Kept:
    """A copy of a tensor, as it was when the capture point was reached."""

    tensor: Tensor


class Recording(TorchFunctionMode):
    """Record the torch operations of a forward pass; enter it, and use it as the tap of that pass.

    What the model does after the capture point can read only those earlier tensors that still exist when it is
    reached. They alone are held during the pass, and those that are read are kept.

    Attributes:
        calls: How often the capture point was reached; the last time counts.
        tensor: What was there.
        largest: Number of values of the largest tensor before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.tensor = torch.empty(0)
        self.largest = 0
        self._log: list[Call] = []
        self._before = 0
        self._held: dict[int, tuple[Tensor, Kept]] = {}
        self._read: set[int] = set()
        self._paused = False

    def __call__(self, tensor: Tensor) -> Tensor:
        """Hold what exists; return a copy, or it could not be told from ``tensor`` read elsewhere, by a shortcut."""
        self._paused = True  # what follows is no part of the model
        self.calls += 1
        self.tensor = tensor.detach().clone()
        seen = (found for call in self._log for found in _leaves(call.result, _Seen))
        existing = (found.reference() for found in seen)
        self._held = {id(one): (one, Kept(one.clone())) for one in existing if one is not None}
        self._read, self._before = set(), len(self._log)
        copy = tensor.clone()
        self._paused = False
        return copy

    def way(self) -> list[Call]:
        """Return the calls before the capture point, after the pass; what was held and not read is let go."""
        kept = {key: pair for key, pair in self._held.items() if key in self._read}
        way = [_finished(call, kept) for call in self._log[: self._before]]
        self._log, self._held = [], {}
        return way

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._paused:
            given = list(_leaves((args, kwargs), Tensor))
            made = list(_leaves(result, Tensor))
            self._read.update(id(tensor) for tensor in given if id(tensor) in self._held)
            self._log.append(Call(func, _mapped(result, Tensor, _Seen), bool(given or made)))
            if not self.calls:
                self.largest = max(self.largest, *(tensor.numel() for tensor in made), 0)
        return result


class Replay(TorchFunctionMode):
    """Answer the calls of a recorded way instead of computing them; what comes after it is computed.

    Raises:
        RuntimeError: When a call is not the recorded one.
    """

    def __init__(self, way: list[Call]) -> None:
        super().__init__()
        self._way = way
        self._position = 0
        self._copies: dict[Kept, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._position == len(self._way):
            return func(*args, **(kwargs or {}))
        call = self._way[self._position]
        self._position += 1
        if call.operation != func:
            raise RuntimeError(f"Expected the model to call {call.operation} as before, but it called {func}.")
        return _mapped(call.result, Kept, self._copy) if call.answered else func(*args, **(kwargs or {}))

    def _copy(self, kept: Kept) -> Tensor:
        """Return one copy for all calls that returned the same tensor: the model may change it in place."""
        if kept not in self._copies:
            self._copies[kept] = kept.tensor.clone()
        return self._copies[kept]


class _Seen:
    """A tensor that the pass made, without holding it."""

    def __init__(self, tensor: Tensor) -> None:
        self.reference = weakref.ref(tensor)
        self._shape, self._like = tensor.shape, tensor.new_zeros(())

    def empty(self) -> Tensor:
        """Return a tensor of its shape, type and device that takes no memory."""
        return self._like.expand(self._shape)


def _finished(call: Call, kept: dict[int, tuple[Tensor, Kept]]) -> Call:
    def finish(seen: _Seen) -> Tensor | Kept:
        tensor = seen.reference()
        return kept[id(tensor)][1] if tensor is not None and id(tensor) in kept else seen.empty()

    return Call(call.operation, _mapped(call.result, _Seen, finish), call.answered)


def _leaves(value: Any, kind: type[Any]) -> Iterator[Any]:
    """Yield the objects of ``kind`` in what an operation takes or returns."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, dict):
        yield from _leaves(tuple(value.values()), kind)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _leaves(part, kind)


def _mapped(value: Any, kind: type[Any], change: Callable[[Any], Any]) -> Any:
    """Return what an operation returned, with each object of ``kind`` replaced by what ``change`` makes of it."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (tuple, list)):
        parts = [_mapped(part, kind, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
