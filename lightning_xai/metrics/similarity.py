"""How similar two heatmaps are."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lightning_xai.evidence.heat import normalized
from lightning_xai.metrics.correlation import spearman

Similarity: TypeAlias = Literal["spearman", "ssim"]
SIMILARITIES = get_args(Similarity)

_SIGMA, _TRUNCATE = 1.5, 3.5


def similarity(first: Tensor, second: Tensor, by: Similarity) -> Tensor:
    """Return how similar each pair of heatmaps (N, H, W) is, float32 (N,) in [-1, 1]; NaN where one is degenerate.

    Args:
        first: Heatmaps.
        second: As many.
        by: ``"spearman"``, the rank correlation of the pixels, or ``"ssim"``; see `ssim`.
    """
    return spearman(first, second) if by == "spearman" else ssim(first, second)


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of each pair of heatmaps (N, H, W), each min-max normalised first.

    11×11 Gaussian windows (σ = 1.5, as far as they fit into small heatmaps) at every pixel, mirrored at the border.

    Returns:
        float32 (N,) in [-1, 1]; NaN where a heatmap is degenerate.

    Example:
        >>> heat = torch.eye(8)[None]
        >>> ssim(heat, 3.0 * heat + 1.0), ssim(heat, 1.0 - heat) < 0
        (tensor([1.]), tensor([True]))
    """
    a, b = normalized(first), normalized(second)
    undefined = (a + b).isnan().flatten(1).any(1)
    # in double precision, because variances are differences of squares, which TF32 on CUDA would round
    a, b = (heat.double().nan_to_num(0.0)[:, None] for heat in (a, b))
    sigma = [min(_SIGMA, max(side - 1, 0.1) / _TRUNCATE) for side in first.shape[1:]]
    structural = structural_similarity_index_measure(a, b, sigma=sigma, data_range=1.0, reduction="none")
    values: Tensor = structural.float().clamp(-1.0, 1.0)  # type: ignore[union-attr]
    return torch.where(undefined, torch.nan, values.view(-1))
