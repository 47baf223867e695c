"""The gradient of the target's logit by the image: at the image, or summed over points around it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_xai.model.backward.input_gradient import input_gradient
from lightning_xai.model.classifier import Classifier


def target_gradient(classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
    """Return ``∂y/∂x`` at ``images``, float32 (n, C, H, W)."""
    return input_gradient(classifier, images, lambda logits: classifier.select(logits, target))[0]


def summed_gradients(
    classifier: Classifier,
    images: Tensor,
    target: Tensor,
    count: int,
    sample: Callable[[int], tuple[Tensor, Tensor]],
) -> Tensor:
    """Return ``Σ_s f_s ⊙ ∂y/∂x`` at ``x_s``; memory grows with the chunk size, not with ``count``.

    Args:
        classifier: The model.
        images: (n, C, H, W), at most a chunk.
        target: int64 (n,).
        count: Number of points per image.
        sample: Returns the points ``x_s`` (n, C, H, W) and the factors ``f_s``, broadcastable to these, of sample s.

    Returns:
        float32 (n, C, H, W).
    """
    together = max(1, classifier.chunk_size // len(images))
    total = torch.zeros_like(images, dtype=torch.float32)
    for start in range(0, count, together):
        points, factors = zip(*(sample(s) for s in range(start, min(start + together, count))), strict=True)
        of_points = classifier.rows(torch.arange(len(images)).repeat(len(points)))
        gradients = target_gradient(of_points, torch.cat(points), target.repeat(len(points)))
        for gradient, factor in zip(gradients.view(-1, *images.shape), factors, strict=True):
            total += factor * gradient
    return total


def at_least_float(images: Tensor) -> Tensor:
    """Return ``images`` in float32 or float64: steps and noise are lost in fewer digits."""
    return images.to(torch.promote_types(images.dtype, torch.float32))
