"""An image in segments: cells of a grid, or superpixels, which follow the image's own edges."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MOST_SEGMENTS, _PIXELS_PER_SEGMENT, _COMPACTNESS = 300, 64, 10.0


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
    """Return the SLIC segment of each pixel of one image, and the number of segments.

    min(300, HW // 64) segments of compactness 10 on the image scaled to [0, 1], in Lab where it has three channels.

    Args:
        image: Floating point (C, H, W).

    Returns:
        Labels, int64 (H, W) in 0..count-1 on the device of the image, and count.

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
    wanted = max(1, min(_MOST_SEGMENTS, scaled.shape[0] * scaled.shape[1] // _PIXELS_PER_SEGMENT))
    labels = slic(scaled, wanted, _COMPACTNESS, convert2lab=scaled.shape[2] == 3, start_label=0, channel_axis=-1)
    _, dense = np.unique(labels, return_inverse=True)
    segments = torch.from_numpy(dense.reshape(labels.shape)).long().to(image.device)
    return segments, int(segments.max()) + 1
