"""Where in a forward pass a tensor can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class LayerOutput:
    """What the named submodule returns, in a certain call of a forward pass; in any, of which the last counts, if 0."""

    name: str
    call: int = 0

    def __str__(self) -> str:
        return f"the output of `{self.name}`{_which(self.call)}"


@dataclass(frozen=True)
class LayerInput:
    """What enters the named submodule, where no module's output equals it, such as a sum before an attention.

    See `LayerOutput` for ``call``.
    """

    name: str
    call: int = 0

    def __str__(self) -> str:
        return f"the input of `{self.name}`{_which(self.call)}"


@dataclass(frozen=True)
class OperationInput:
    """What enters the given call of a torch operation, where no module's output equals it: a functional pooling."""

    operation: str
    call: int

    def __str__(self) -> str:
        return f"the input of `{self.operation}` (call {self.call})"


@dataclass(frozen=True)
class OperationOutput:
    """What the given call of a torch operation returns, where no module returned it and several operations read it."""

    operation: str
    call: int

    def __str__(self) -> str:
        return f"the output of `{self.operation}` (call {self.call})"


CapturePoint: TypeAlias = LayerOutput | LayerInput | OperationInput | OperationOutput


def _which(call: int) -> str:
    return f" (call {call})" if call else ""
