"""Parts of an image that are removed together."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai._checks import check_count


def check_grid(grid: object) -> tuple[int, int]:
    """Return ``grid`` as a tuple (rows, columns).

    Raises:
        TypeError: If it is no pair of whole numbers.
        ValueError: If one of them is below 1.
    """
    if not isinstance(grid, (tuple, list)) or len(grid) != 2:
        raise TypeError(f"Expected `grid` to be a pair (rows, columns), but got {grid!r}.")
    for cells in grid:
        check_count(cells, "grid")
    return (grid[0], grid[1])


def region_means(heatmaps: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the mean heat of each region.

    Args:
        heatmaps: (N, H, W).
        labels: int64 (H, W) or (N, H, W), in 0..count-1.
        count: Number of regions.

    Returns:
        (N, count); -inf for regions that no pixel of the image belongs to.
    """
    flat = heatmaps.flatten(1)
    index = labels.reshape(-1, flat.shape[1]).expand_as(flat)
    total = torch.zeros(len(flat), count, dtype=flat.dtype, device=flat.device).scatter_add_(1, index, flat)
    size = torch.zeros_like(total).scatter_add_(1, index, torch.ones_like(flat))
    return torch.where(size > 0, total / size.clamp(min=1), -torch.inf)
