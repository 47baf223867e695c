"""An image in segments, parts that are changed together: cells of a grid, or superpixels, which follow its edges."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_xai._checks import check_count

_MOST_SUPERPIXELS, _PIXELS_PER_SUPERPIXEL, _COMPACTNESS = 300, 64, 10.0


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


def grid_labels(size: tuple[int, int], grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return the cell of each pixel, int64 (H, W) in 0..rows*columns-1, row by row; cells differ by a pixel at most.

    Example:
        >>> grid_labels((2, 4), (1, 2), torch.device("cpu"))
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1]])

    Raises:
        ValueError: If the grid is finer than the image.
    """
    if grid[0] > size[0] or grid[1] > size[1]:
        raise ValueError(f"Expected `grid` to be at most the images' size {size}, but got {grid}.")
    rows, columns = (
        torch.arange(length, device=device) * cells // length for length, cells in zip(size, grid, strict=True)
    )
    return rows[:, None] * grid[1] + columns[None, :]


def superpixels(image: Tensor) -> tuple[Tensor, int]:
    """Return the SLIC superpixel of each pixel of one image, and the number of superpixels.

    min(300, HW // 64) superpixels of compactness 10 on the image scaled to [0, 1], in Lab where it has three channels.

    Args:
        image: Floating point (C, H, W).

    Returns:
        Labels, int64 (H, W) from 0 on without gaps, on the device of the image, and their number.

    Raises:
        ModuleNotFoundError: If scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Superpixels need scikit-image: pip install 'lightning-xai[superpixels]'.") from error
    pixels = image.detach().float().cpu().permute(1, 2, 0).numpy()
    low, high = pixels.min(), pixels.max()
    scaled = (pixels - low) / max(float(high - low), np.finfo(np.float32).tiny)
    wanted = max(1, min(_MOST_SUPERPIXELS, scaled.shape[0] * scaled.shape[1] // _PIXELS_PER_SUPERPIXEL))
    labels = slic(scaled, wanted, _COMPACTNESS, convert2lab=scaled.shape[2] == 3, start_label=0, channel_axis=-1)
    names, without_gaps = np.unique(labels, return_inverse=True)
    return torch.from_numpy(without_gaps.reshape(labels.shape)).long().to(image.device), len(names)


def segment_means(heatmaps: Tensor, labels: Tensor, num_segments: int) -> Tensor:
    """Return the mean heat of each segment.

    Args:
        heatmaps: (N, H, W).
        labels: int64 (H, W) or (N, H, W), in 0..num_segments-1.
        num_segments: Their number.

    Returns:
        (N, num_segments); -inf for segments that no pixel of the image belongs to.

    Example:
        >>> segment_means(torch.tensor([[[1.0, 3.0, 5.0]]]), torch.tensor([[0, 0, 1]]), 3)
        tensor([[2., 5., -inf]])
    """
    heat = heatmaps.flatten(1)
    segment = labels.reshape(-1, heat.shape[1]).expand_as(heat)
    empty = heat.new_full((len(heat), num_segments), -torch.inf)
    return empty.scatter_reduce_(1, segment, heat, "mean", include_self=False)
