"""A tap on the way through a model: it sees, and may replace, the tensor at a capture point."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.module import named_layers
from lightning_xai.model.trace import CapturePoint, LayerInput, OperationInput


class Tap(Protocol):
    """What sees, and may replace, the tensor at a capture point.

    Attributes:
        calls: How often it was called in one forward pass.
    """

    calls: int

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return what the model goes on with."""


def tapped(classifier: Classifier, images: Tensor, point: CapturePoint, tap: Tap, *, counted: bool = True) -> Tensor:
    """Return the logits (N, K) of one forward pass of ``images`` with ``tap`` at ``point``.

    Args:
        classifier: The model.
        images: (N, C, H, W), at most a chunk; the model may change its copy in place.
        point: Where; see `capture_points`.
        tap: Called with the tensor there.
        counted: Whether the pass counts as evaluations of the model.

    Raises:
        RuntimeError: If the model did not come past that point.
    """
    with _placed(classifier.model, point, tap):
        logits = (classifier.forward if counted else classifier.forward_uncounted)(images.clone())
    if not tap.calls:
        raise RuntimeError(f"Expected {point} to be part of the model's forward, but it did not run. Name another.")
    return logits


def warn_if_repeated(tap: Tap, point: CapturePoint) -> None:
    """Warn if one forward pass came past ``point`` several times."""
    if tap.calls > 1:
        warnings.warn(f"In one forward, {point} was there {tap.calls} times; the last one counts.", stacklevel=3)


@contextmanager
def _placed(model: nn.Module, point: CapturePoint, tap: Tap) -> Iterator[None]:
    with ExitStack() as stack:
        if isinstance(point, OperationInput):
            stack.enter_context(_Intercept(point, tap))
        elif isinstance(point, LayerInput):
            hook = _input_hook(tap)
            stack.callback(named_layers(model)[point.name].register_forward_pre_hook(hook, with_kwargs=True).remove)
        else:
            stack.callback(named_layers(model)[point.name].register_forward_hook(_output_hook(tap, point)).remove)
        yield


def _output_hook(tap: Tap, point: CapturePoint) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return tap(output)
        if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
            return (tap(output[0]), *output[1:])
        raise ValueError(
            f"Expected {point} to be a Tensor or a tuple that starts with one, but got {type(output).__name__}."
        )

    return hook


def _input_hook(tap: Tap) -> Callable[[nn.Module, Any, Any], Any]:
    """Replace the first tensor among the inputs wherever it is passed: query, key and value may be one."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        tapped = tap(first)
        replaced = {name: tapped if value is first else value for name, value in kwargs.items()}
        return tuple(tapped if value is first else value for value in args), replaced

    return hook


class _Intercept(TorchFunctionMode):
    """Tap the first argument of one call of a torch operation."""

    def __init__(self, point: OperationInput, tap: Tap) -> None:
        super().__init__()
        self._operation, self._countdown, self._tap = point.operation, point.call, tap

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == self._operation:
            self._countdown -= 1
            if self._countdown == 0:
                if args:
                    args = (self._tap(args[0]), *args[1:])
                else:
                    kwargs = {**kwargs, "input": self._tap(kwargs["input"])}
        return func(*args, **kwargs)
