"""Pictures as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of the files that are taken for pictures."""


def read_picture(path: Path, mode: Literal["RGB", "L"] = "RGB") -> Tensor:
    """Return the pixels of a picture, uint8 (C, H, W) with 3 channels, or 1 for ``"L"``.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    import numpy as np
    from PIL.Image import open as open_picture

    with open_picture(path) as picture:
        pixels = torch.from_numpy(np.array(picture.convert(mode)))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def pictures_below(folder: Path) -> list[Path]:
    """Return the files of a folder and those below it that are pictures, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


def filled_polygons(polygons: Sequence[Sequence[tuple[float, float]]], size: tuple[int, int]) -> Tensor:
    """Return the union of polygons as a mask, bool (H, W): True where a pixel's centre lies in one (even–odd rule).

    Args:
        polygons: Corners x, y of each, at least three, in pixels: the first pixel reaches from 0 to 1.
        size: H and W.
    """
    mask = torch.zeros(size, dtype=torch.bool)
    y, x = ((torch.arange(length, dtype=torch.float64) + 0.5) for length in size)
    for polygon in polygons:
        x0, y0 = torch.tensor(polygon, dtype=torch.float64).T
        x1, y1 = x0.roll(-1), y0.roll(-1)
        crosses = (y0 > y[:, None]) != (y1 > y[:, None])
        slope = torch.where(y1 == y0, torch.inf, (x1 - x0) / (y1 - y0))
        edges = torch.where(crosses, x0 + (y[:, None] - y0) * slope, torch.inf).sort(dim=1).values
        mask |= torch.searchsorted(edges, x.repeat(size[0], 1), right=True) % 2 == 1  # edges on the left: odd within
    return mask
