"""What metrics make of a heatmap before they use it."""

from __future__ import annotations

import torch
from torch import Tensor

_FLAT = 1e-8


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
    flat = heatmaps.flatten(1).float()
    positive = torch.where(flat > 0, flat, torch.inf).sort(dim=1).values
    count = (flat > 0).sum(1)
    place = (count - 1).clamp(min=0).double() * (percentile / 100.0)
    below = place.floor().long()
    above = torch.minimum(below + 1, (count - 1).clamp(min=0))
    low, high = (positive.gather(1, index[:, None])[:, 0] for index in (below, above))
    return torch.where(count > 0, low + (high - low).nan_to_num(0.0) * (place - below).float(), torch.inf)
