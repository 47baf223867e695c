"""Activations of a layer and the gradient of a class logit there, with a graph that starts at that layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layout import feature_maps
from lightning_xai.model.preserved import preserved
from lightning_xai.model.tap import tapped, warn_if_repeated
from lightning_xai.model.trace import CapturePoint


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
