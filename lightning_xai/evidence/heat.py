"""What metrics make of a heatmap before they use it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FLAT = 1e-8
LARGEST_KEPT = 56
"""Side of the largest heatmap that is kept between epochs."""
_MADE_COMPACT_TOGETHER = 8
_MOST_QUANTILE_VALUES = 16_000_000  # torch refuses more at once


def is_degenerate(rows: Tensor) -> Tensor:
    """Return which rows (N, ...) are constant, ``max − min ≤ 1e-8 · max|m|``, or not finite; boolean (N,)."""
    flat = rows.flatten(1)
    spread = flat.amax(1) - flat.amin(1)
    return ~(spread > _FLAT * flat.abs().amax(1)) | ~flat.isfinite().all(1)


def normalized(heatmaps: Tensor) -> Tensor:
    """Return heatmaps (N, H, W) min-max normalised to [0, 1], each by itself; NaN where one is degenerate."""
    flat = heatmaps.flatten(1).float()
    low, high = flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]
    undefined = is_degenerate(heatmaps)[:, None, None]
    return torch.where(undefined, torch.nan, (heatmaps.float() - low) / torch.where(undefined, 1.0, high - low))


def positive_percentile(heatmaps: Tensor, percentile: float) -> Tensor:
    """Return the percentile (linear interpolation) of each heatmap's positive values, (N,); infinite without any."""
    heat = heatmaps.flatten(1).double()
    positive = torch.where(heat > 0, heat, torch.nan)
    chunks = torch.split(positive, max(_MOST_QUANTILE_VALUES // heat.shape[1], 1))
    percentiles = torch.cat([chunk.nanquantile(percentile / 100.0, dim=1) for chunk in chunks])
    return percentiles.nan_to_num(torch.inf).float()


def compact(heatmaps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Return heatmaps (N, H, W) as they are kept between epochs: averaged to at most 56×56, peak 1, float16.

    Args:
        heatmaps: Floating point (N, H, W).
        size: Height and width to return; each side at most 56 if None.
    """
    if size is None:
        size = (min(heatmaps.shape[1], LARGEST_KEPT), min(heatmaps.shape[2], LARGEST_KEPT))
    kept = heatmaps.new_empty(len(heatmaps), *size, dtype=torch.float16)
    for some, place in zip(*(torch.split(maps, _MADE_COMPACT_TOGETHER) for maps in (heatmaps, kept)), strict=True):
        pooled = F.adaptive_avg_pool2d(some.float(), size)
        peak = pooled.flatten(1).abs().amax(1)[:, None, None]
        place.copy_(torch.where(peak > 0, pooled / peak, pooled))
    return kept
