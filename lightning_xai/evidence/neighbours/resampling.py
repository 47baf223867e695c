"""Values of images between their pixels, as turning, cropping and resizing need them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_DECIMALS = 9  # a hair beside a pixel's centre is the pixel


def turned_places(
    size: tuple[int, int], device: torch.device, *, degrees: float = 0.0, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the place in an image of each pixel of its turned, or enlarged, version: row and column, float64 (H, W).

    Args:
        size: (H, W) of both.
        device: Of the result.
        degrees: Counter-clockwise about the centre.
        share: Of height and width around the centre that fills the whole.
    """
    angle = math.radians(degrees)
    row, column = (torch.arange(length, dtype=torch.float64, device=device) - (length - 1) / 2 for length in size)
    down, right = row[:, None], column[None, :]
    rows = share * (math.cos(angle) * down + math.sin(angle) * right) + (size[0] - 1) / 2
    columns = share * (math.cos(angle) * right - math.sin(angle) * down) + (size[1] - 1) / 2
    return rows, columns


def inside(rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which places lie on a pixel of an image of (H, W), boolean."""
    return (rows >= -0.5) & (rows <= size[0] - 0.5) & (columns >= -0.5) & (columns <= size[1] - 0.5)


def places_along(old: int, new: int, device: torch.device) -> Tensor:
    """Return the place along an axis of ``old`` pixels of each of ``new`` pixels, float64 (new,)."""
    return (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * (old / new) - 0.5


def bilinear(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the values of ``images`` (N, C, H, W) at places between pixels, mirrored outside, (N, C, h, w).

    Args:
        images: float64.
        rows: (h, w), or (h,) for places on a grid.
        columns: (h, w), or (w,).
    """
    if rows.ndim == 1:
        rows, columns = rows[:, None], columns[None, :]
    top, bottom, down = _between(rows, images.shape[2])
    left, right, along = _between(columns, images.shape[3])
    above = images[:, :, top, left] * (1 - along) + images[:, :, top, right] * along
    below = images[:, :, bottom, left] * (1 - along) + images[:, :, bottom, right] * along
    return above * (1 - down) + below * down


def nearest(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the values of ``maps`` (..., H, W) at the pixels nearest to places (h, w); of two the one below, right."""
    at = [
        (place.round(decimals=_DECIMALS) + 0.5).floor().long().clamp(0, length - 1)
        for place, length in zip((rows, columns), maps.shape[-2:], strict=True)
    ]
    return maps[..., at[0], at[1]]


def _between(place: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels before and after each place, and its distance from the first in [0, 1)."""
    place = (place.round(decimals=_DECIMALS) + 0.5).abs() % (2 * length)
    place = (torch.where(place > length, 2 * length - place, place) - 0.5).clamp(0, length - 1)
    first = place.floor().long()
    return first, (first + 1).clamp(max=length - 1), place - first
