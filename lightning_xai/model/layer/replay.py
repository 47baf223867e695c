"""The operations of a forward pass up to a capture point: recorded once, then answered without computing them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class RecordedOperation:
    """One torch operation before the capture point.

    Attributes:
        function: What was called.
        result: What it returned; instead of tensors, `StoredTensor` where they are read after the capture point, else
            tensors of the same shape without content.
        answered: Whether a replay answers it; what knows no tensor, such as setting the gradient mode, runs again.
    """

    function: Callable[..., Any]
    result: Any
    answered: bool


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A copy of a tensor, as it was when the capture point was reached."""

    tensor: Tensor


class ForwardRecording(TorchFunctionMode):
    """Record the torch operations of a forward pass; enter it, and use it as the hook of that pass.

    What the model does after the capture point can read only those earlier tensors that still exist when it is
    reached. They alone are held during the pass, and those that are read are stored.

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
        self._operations: list[RecordedOperation] = []
        self._num_before = 0
        self._existing: dict[int, tuple[Tensor, StoredTensor]] = {}
        self._read_ids: set[int] = set()
        self._paused = False

    def __call__(self, tensor: Tensor) -> Tensor:
        """Hold what exists; return a copy, or it could not be told from ``tensor`` read elsewhere, by a shortcut."""
        self._paused = True  # what follows is no part of the model
        self.calls += 1
        self.tensor = tensor.detach().clone()
        references = (ref for one in self._operations for ref in _leaves(one.result, _TensorReference))
        existing = (reference.tensor() for reference in references)
        self._existing = {id(one): (one, StoredTensor(one.clone())) for one in existing if one is not None}
        self._read_ids, self._num_before = set(), len(self._operations)
        copy = tensor.clone()
        self._paused = False
        return copy

    def operations(self) -> list[RecordedOperation]:
        """Return those before the capture point, after the pass; what was held and not read is let go."""
        stored = {key: pair for key, pair in self._existing.items() if key in self._read_ids}
        operations = [_with_content(one, stored) for one in self._operations[: self._num_before]]
        self._operations, self._existing = [], {}
        return operations

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._paused:
            arguments = list(_leaves((args, kwargs), Tensor))
            results = list(_leaves(result, Tensor))
            self._read_ids.update(id(tensor) for tensor in arguments if id(tensor) in self._existing)
            without_content = _mapped(result, Tensor, _TensorReference)
            self._operations.append(RecordedOperation(func, without_content, bool(arguments or results)))
            if not self.calls:
                self.largest = max(self.largest, *(tensor.numel() for tensor in results), 0)
        return result


class ForwardReplay(TorchFunctionMode):
    """Answer the operations of a recorded pass instead of computing them; what comes after them is computed.

    Raises:
        RuntimeError: When an operation is not the recorded one.
    """

    def __init__(self, operations: list[RecordedOperation]) -> None:
        super().__init__()
        self._operations = operations
        self._position = 0
        self._copies: dict[StoredTensor, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._position == len(self._operations):
            return func(*args, **(kwargs or {}))
        recorded = self._operations[self._position]
        self._position += 1
        if recorded.function != func:
            raise RuntimeError(f"Expected the model to call {recorded.function} as before, but it called {func}.")
        if not recorded.answered:
            return func(*args, **(kwargs or {}))
        return _mapped(recorded.result, StoredTensor, self._copy)

    def _copy(self, stored: StoredTensor) -> Tensor:
        """Return one copy for all operations that returned the same tensor: the model may change it in place."""
        if stored not in self._copies:
            self._copies[stored] = stored.tensor.clone()
        return self._copies[stored]


class _TensorReference:
    """A tensor that the pass made, without holding it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self._shape, self._like = tensor.shape, tensor.new_zeros(())

    def empty(self) -> Tensor:
        """Return a tensor of its shape, type and device that takes no memory."""
        return self._like.expand(self._shape)


def _with_content(recorded: RecordedOperation, stored: dict[int, tuple[Tensor, StoredTensor]]) -> RecordedOperation:
    """Return the operation with what is read later in the place of references."""

    def content(reference: _TensorReference) -> Tensor | StoredTensor:
        tensor = reference.tensor()
        return stored[id(tensor)][1] if tensor is not None and id(tensor) in stored else reference.empty()

    return RecordedOperation(recorded.function, _mapped(recorded.result, _TensorReference, content), recorded.answered)


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
