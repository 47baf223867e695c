"""Activations of a layer and the gradient of a class logit there, with a graph that starts at that layer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.feature_maps import feature_maps
from lightning_xai.model.layer.search import CapturePoint, LayerInput, OperationInput
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import named_layers


@dataclass(frozen=True)
class Capture:
    """What one forward (and backward) pass shows at a layer; float32, detached.

    Attributes:
        activations: (N, C, h, w).
        gradients: (N, C, h, w), the target's logit by the activations; None if not asked for.
        logits: (N, K).
    """

    activations: Tensor
    gradients: Tensor | None
    logits: Tensor


def capture(
    classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint, *, gradients: bool = True
) -> Capture:
    """Return activations, gradients and logits of ``images`` at ``point``.

    The pass below the layer runs without a graph, so this costs about one plain forward. Where that cannot work (a
    backbone that the user runs under ``no_grad``), the same is tried with gradients enabled and with a full graph.

    Args:
        classifier: The model.
        images: (N, C, H, W), at most a chunk.
        target: int64 (N,).
        point: Where; see `capture_points`.
        gradients: Whether gradients are needed.

    Raises:
        RuntimeError: If the layer did not run or no gradient reaches it.
        ValueError: If the layer holds no feature maps.
    """
    size, name = (images.shape[2], images.shape[3]), str(point)
    grad = None
    with preserved(classifier.model):
        if gradients:
            tap, logits, grad = _differentiated(classifier, images, target, point)
        else:
            tap = _Keep(differentiable=False)
            with torch.no_grad():
                logits = tapped(classifier, images, point, tap)
            classifier.check_classes(logits, target)
        activations = feature_maps(tap.tensor.detach().float(), size, name)
        gradients_there = None if grad is None else feature_maps(grad.float(), size, name)
    warn_if_repeated(tap, point)
    return Capture(activations, gradients_there, logits.detach())


def layer_gradients(classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint) -> Tensor:
    """Return only the gradients of `capture`, float32 (N, C, h, w)."""
    return cast("Tensor", capture(classifier, images, target, point).gradients)


@dataclass
class _Keep:
    """Keep a tensor on its way, or replace it by a copy of one whose gradient can be asked for."""

    differentiable: bool
    calls: int = 0
    kept: list[Tensor] = field(default_factory=list)

    @property
    def tensor(self) -> Tensor:
        return self.kept[-1]

    def __call__(self, tensor: Tensor) -> Tensor:
        self.calls += 1
        if not self.differentiable:
            self.kept = [tensor.detach().clone()]
            return tensor
        torch.set_grad_enabled(True)  # lasts until the surrounding `with` ends: a graph from here on, none before
        # copies, or in-place operations of the model would change what was kept: after the layer, and beside it
        self.kept = [tensor.detach().clone().requires_grad_()]
        return self.tensor.clone()


def _differentiated(
    classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint
) -> tuple[_Keep, Tensor, Tensor]:
    """Try without a graph before the layer; if the user's own `no_grad` then hides what follows it, with one."""
    for grad_before in (False, True):
        tap = _Keep(differentiable=True)
        with torch.set_grad_enabled(grad_before):
            logits = tapped(classifier, images, point, tap)
        score = classifier.select(logits, target).sum()
        if not score.requires_grad:
            continue
        try:
            (grad,) = torch.autograd.grad(score, tap.tensor, allow_unused=True)
        except RuntimeError as error:
            if "checkpoint" in str(error):
                raise RuntimeError(_no_gradient(point)) from error
            raise
        if grad is not None:
            return tap, logits, grad
    raise RuntimeError(_no_gradient(point))


def _no_gradient(point: CapturePoint) -> str:
    return (
        f"Expected the class score to depend on {point} differentiably, but no gradient reaches it: the model detaches "
        "it (`.detach()`, `no_grad` or `inference_mode` after the layer, or reentrant activation checkpointing). Name "
        "a later layer, or use `use_reentrant=False`."
    )


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
