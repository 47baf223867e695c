"""The tensor at a place of a forward pass as feature maps, with its gradient: the pass with a hook there."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, product
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_xai._checks import shape
from lightning_xai.model.backward.no_gradient import no_gradient_because
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.points import CapturePoint, LayerInput, LayerOutput, OperationInput, OperationOutput
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import layer_named


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
    with hook_registered(classifier.model, point, hook):
        logits = (classifier.forward if counted else classifier.forward_uncounted)(images.clone())
    if not hook.calls:
        raise RuntimeError(f"Expected {point} to be part of the model's forward, but it did not run. Name another.")
    return logits


@contextmanager
def hook_registered(model: nn.Module, point: CapturePoint, hook: TensorHook) -> Iterator[None]:
    """Let ``hook`` see what is at ``point`` in each forward pass meanwhile."""
    with ExitStack() as stack:
        if isinstance(point, (OperationInput, OperationOutput)):
            stack.enter_context(_OperationHook(point, hook))
        elif isinstance(point, LayerInput):
            layer = layer_named(model, point.name)
            stack.callback(layer.register_forward_pre_hook(_pre_hook(hook, point), with_kwargs=True).remove)
        else:
            layer = layer_named(model, point.name)
            stack.callback(layer.register_forward_hook(_forward_hook(hook, point)).remove)
        yield


def _forward_hook(hook: TensorHook, point: LayerOutput) -> Callable[[nn.Module, Any, Any], Any]:
    calls = count(1)

    def forward_hook(_: nn.Module, __: Any, output: Any) -> Any:
        if point.call not in {0, next(calls)}:
            return None
        if isinstance(output, Tensor):
            return hook(output)
        if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
            return (hook(output[0]), *output[1:])
        raise ValueError(
            f"Expected {point} to be a Tensor or a tuple that starts with one, but got {type(output).__name__}."
        )

    return forward_hook


def _pre_hook(hook: TensorHook, point: LayerInput) -> Callable[[nn.Module, Any, Any], Any]:
    """Replace the first tensor among the inputs wherever it is passed: query, key and value may be one."""
    calls = count(1)

    def pre_hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if point.call not in {0, next(calls)}:
            return None
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        replacement = hook(first)
        replaced = {name: replacement if value is first else value for name, value in kwargs.items()}
        return tuple(replacement if value is first else value for value in args), replaced

    return pre_hook


class _OperationHook(TorchFunctionMode):
    """Call a hook with the first argument, or with the result, of one call of a torch operation."""

    def __init__(self, point: OperationInput | OperationOutput, hook: TensorHook) -> None:
        super().__init__()
        self._point, self._calls_left, self._hook = point, point.call, hook

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") != self._point.operation:
            return func(*args, **kwargs)
        self._calls_left -= 1
        if self._calls_left != 0:
            return func(*args, **kwargs)
        if isinstance(self._point, OperationOutput):
            return self._hook(func(*args, **kwargs))
        if args:
            return func(self._hook(args[0]), *args[1:], **kwargs)
        return func(**{**kwargs, "input": self._hook(kwargs["input"])})


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
    size = (images.shape[2], images.shape[3])
    slope = None
    with preserved(classifier.model):
        if gradients:
            hook, logits, slope = _differentiated(classifier, images, target, point)
        else:
            hook = _CopyingHook(differentiable=False)
            with torch.no_grad():
                logits = hooked_forward(classifier, images, point, hook)
            classifier.check_classes(logits, target)
        activations = feature_maps(hook.copy.detach().float(), size, point)
        gradients_there = None if slope is None else feature_maps(slope.float(), size, point)
    warn_if_repeated(hook, point)
    return Capture(activations, gradients_there, logits.detach())


class _CopyingHook:
    """Copy what is at the capture point; let the model go on with what the copy's gradient can be asked from."""

    copy: Tensor

    def __init__(self, *, differentiable: bool) -> None:
        self.calls = 0
        self._differentiable = differentiable

    def __call__(self, tensor: Tensor) -> Tensor:
        self.calls += 1
        if not self._differentiable:
            self.copy = tensor.detach().clone()
            return tensor
        torch.set_grad_enabled(True)  # lasts until the surrounding `with` ends: a graph from here on, none before
        # copies, or in-place operations of the model would change them: after the layer, and beside it
        self.copy = tensor.detach().clone().requires_grad_()
        return self.copy.clone()


def _differentiated(
    classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint
) -> tuple[_CopyingHook, Tensor, Tensor]:
    """Try without a graph before the layer; if the user's own `no_grad` then hides what follows it, with one."""
    for grad_before in (False, True):
        hook = _CopyingHook(differentiable=True)
        with torch.set_grad_enabled(grad_before):
            logits = hooked_forward(classifier, images, point, hook)
        score = classifier.select(logits, target).sum()
        if not score.requires_grad:
            continue
        try:
            (slope,) = torch.autograd.grad(score, hook.copy, allow_unused=True)
        except RuntimeError as error:
            if "checkpoint" in str(error):
                raise RuntimeError(_no_gradient(classifier, point)) from error
            raise
        if slope is not None:
            return hook, logits, slope
    raise RuntimeError(_no_gradient(classifier, point))


def _no_gradient(classifier: Classifier, point: CapturePoint) -> str:
    detached = (
        "the model detaches it (`.detach()`, `no_grad` or `inference_mode` after the layer, or reentrant activation "
        "checkpointing). Name a later layer, or use `use_reentrant=False`."
    )
    return (
        f"Expected the class score to depend on {point} differentiably, but no gradient reaches it: "
        + no_gradient_because(classifier.model, detached)
    )


def warn_if_repeated(hook: TensorHook, point: CapturePoint) -> None:
    """Warn if one forward pass came past ``point`` several times."""
    if hook.calls > 1:
        warnings.warn(f"In one forward, {point} was there {hook.calls} times; the last one counts.", stacklevel=3)


_PREFIXES = (2, 16)  # at most so many tokens precede the grid: class and distillation token, else registers too


def feature_maps(tensor: Tensor, image_size: tuple[int, int], layer: object = "the target layer") -> Tensor:
    """Return ``tensor`` as feature maps (N, C, h, w).

    Args:
        tensor: (N, C, h, w); channels-last (N, h, w, C), recognised by the aspect ratio of the image; or tokens
            (N, T, C), whose leading class or register tokens are dropped so that the rest fills a grid.
        image_size: (H, W) of the images.
        layer: What the error names.

    Raises:
        ValueError: If the tensor has no spatial axes.
    """
    if tensor.ndim == 4:
        return tensor.permute(0, 3, 1, 2) if _is_channels_last(tensor, image_size) else tensor
    if tensor.ndim == 3:
        grid = token_grid(tensor.shape[1], image_size)
        if grid is not None:
            return tensor[:, -grid[0] * grid[1] :].transpose(1, 2).reshape(len(tensor), tensor.shape[2], *grid)
    raise ValueError(
        "Expected `target_layer` to hold feature maps (N, C, h, w), (N, h, w, C) or tokens (N, T, C) that fill a grid, "
        f"but {layer} holds {shape(tensor)}."
    )


def _is_channels_last(tensor: Tensor, image_size: tuple[int, int]) -> bool:
    """Return whether (N, h, w, C) has the image's shape, where (N, C, h, w) differs from it by more than rounding."""
    _, first, second, third = tensor.shape
    rounding = 1.0 / second + 1.0 / third
    return _distortion(first, second, image_size) < _distortion(second, third, image_size) - rounding


def is_in_proportion(height: int, width: int, image_size: tuple[int, int]) -> bool:
    """Return whether a grid has the proportions of the image (H, W), but for rounding."""
    return _distortion(height, width, image_size) <= 1.0 / height + 1.0 / width


def _distortion(height: int, width: int, image_size: tuple[int, int]) -> float:
    """Return how far height : width is from the image's, 0 if equal."""
    return abs(math.log(height / width) - math.log(image_size[0] / image_size[1]))


def token_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the grid of square patches that leaves few of ``tokens`` over, and divides the image if one does."""
    height, width = image_size
    patches = range(1, max(image_size) + 1)
    divided = [(height // p, width // p) for p in patches if height % p == width % p == 0]
    dropped = [(height // p, width // p) for p in patches]
    padded = [(-(-height // p), -(-width // p)) for p in patches]
    for most, grids in product(_PREFIXES, (divided, dropped + padded)):
        fitting = [(h, w) for h, w in grids if h * w > 0 and 0 <= tokens - h * w <= most]
        if fitting:
            return max(fitting, key=math.prod)
    return None
