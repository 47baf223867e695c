"""Activations of a layer and the gradient of a class logit there, with a graph that starts at that layer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture_point import CapturePoint, TensorHook, hooked_forward
from lightning_xai.model.layer.feature_maps import feature_maps
from lightning_xai.model.preserve import preserved


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
    slope = None
    with preserved(classifier.model):
        if gradients:
            hook, logits, slope = _differentiated(classifier, images, target, point)
        else:
            hook = _CopyingHook(differentiable=False)
            with torch.no_grad():
                logits = hooked_forward(classifier, images, point, hook)
            classifier.check_classes(logits, target)
        activations = feature_maps(hook.copy.detach().float(), size, name)
        gradients_there = None if slope is None else feature_maps(slope.float(), size, name)
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
                raise RuntimeError(_no_gradient(point)) from error
            raise
        if slope is not None:
            return hook, logits, slope
    raise RuntimeError(_no_gradient(point))


def _no_gradient(point: CapturePoint) -> str:
    return (
        f"Expected the class score to depend on {point} differentiably, but no gradient reaches it: the model detaches "
        "it (`.detach()`, `no_grad` or `inference_mode` after the layer, or reentrant activation checkpointing). Name "
        "a later layer, or use `use_reentrant=False`."
    )


def warn_if_repeated(hook: TensorHook, point: CapturePoint) -> None:
    """Warn if one forward pass came past ``point`` several times."""
    if hook.calls > 1:
        warnings.warn(f"In one forward, {point} was there {hook.calls} times; the last one counts.", stacklevel=3)
