"""Where in a forward pass a tensor is seen, and the pass with a hook there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import layer_named


@dataclass(frozen=True)
class LayerOutput:
    """What the named submodule returns."""

    name: str

    def __str__(self) -> str:
        return f"the output of `{self.name}`"


@dataclass(frozen=True)
class LayerInput:
    """What enters the named submodule, where no module's output equals it, such as a sum before an attention."""

    name: str

    def __str__(self) -> str:
        return f"the input of `{self.name}`"


@dataclass(frozen=True)
class OperationInput:
    """What enters the given call of a torch operation, where no module's output equals it: a functional pooling."""

    operation: str
    call: int

    def __str__(self) -> str:
        return f"the input of `{self.operation}` (call {self.call})"


CapturePoint: TypeAlias = LayerOutput | LayerInput | OperationInput


class TensorHook(Protocol):
    """What sees, and may replace, the tensor at a capture point.

    Attributes:
        calls: How often it was called in one forward pass.
    """

    calls: int

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return what the model goes on with."""


def hooked_forward(
    classifier: Classifier, images: Tensor, point: CapturePoint, hook: TensorHook, *, counted: bool = True
) -> Tensor:
    """Return the logits (N, K) of one forward pass of ``images`` with ``hook`` at ``point``.

    Args:
        classifier: The model.
        images: (N, C, H, W), at most a chunk; the model may change its copy in place.
        point: Where; see `capture_points`.
        hook: Called with the tensor there.
        counted: Whether the pass counts as evaluations of the model.

    Raises:
        RuntimeError: If the model did not come past that point.
    """
    with _registered(classifier.model, point, hook):
        logits = (classifier.forward if counted else classifier.forward_uncounted)(images.clone())
    if not hook.calls:
        raise RuntimeError(f"Expected {point} to be part of the model's forward, but it did not run. Name another.")
    return logits


@contextmanager
def _registered(model: nn.Module, point: CapturePoint, hook: TensorHook) -> Iterator[None]:
    with ExitStack() as stack:
        if isinstance(point, OperationInput):
            stack.enter_context(_OperationPreHook(point, hook))
        elif isinstance(point, LayerInput):
            layer = layer_named(model, point.name)
            stack.callback(layer.register_forward_pre_hook(_pre_hook(hook), with_kwargs=True).remove)
        else:
            layer = layer_named(model, point.name)
            stack.callback(layer.register_forward_hook(_forward_hook(hook, point)).remove)
        yield


def _forward_hook(hook: TensorHook, point: CapturePoint) -> Callable[[nn.Module, Any, Any], Any]:
    def forward_hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return hook(output)
        if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
            return (hook(output[0]), *output[1:])
        raise ValueError(
            f"Expected {point} to be a Tensor or a tuple that starts with one, but got {type(output).__name__}."
        )

    return forward_hook


def _pre_hook(hook: TensorHook) -> Callable[[nn.Module, Any, Any], Any]:
    """Replace the first tensor among the inputs wherever it is passed: query, key and value may be one."""

    def pre_hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        replacement = hook(first)
        replaced = {name: replacement if value is first else value for name, value in kwargs.items()}
        return tuple(replacement if value is first else value for value in args), replaced

    return pre_hook


class _OperationPreHook(TorchFunctionMode):
    """Call a hook with the first argument of one call of a torch operation."""

    def __init__(self, point: OperationInput, hook: TensorHook) -> None:
        super().__init__()
        self._operation, self._calls_left, self._hook = point.operation, point.call, hook

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == self._operation:
            self._calls_left -= 1
            if self._calls_left == 0:
                if args:
                    args = (self._hook(args[0]), *args[1:])
                else:
                    kwargs = {**kwargs, "input": self._hook(kwargs["input"])}
        return func(*args, **kwargs)
