"""Pictures as tensors."""

from __future__ import annotations

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


def filled_polygons(polygons: list[list[tuple[float, float]]], size: tuple[int, int]) -> Tensor:
    """Return the union of polygons as a mask, bool (H, W): True where a pixel lies in one or on its edge.

    Args:
        polygons: Corners of each, x and y in pixels, at least three.
        size: H and W.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    picture = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(picture)
    for corners in polygons:
        draw.polygon(corners, fill=1)
    return torch.from_numpy(np.array(picture))
