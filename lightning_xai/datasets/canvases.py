"""Small pictures on larger canvases: each at a random place in a random size, among scraps of other pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_CLOUDS, _CLOUDINESS = 5, 0.4  # of the background: values per side, and the brightest
_NUM_SCRAPS = 8
_SIDE_OF_SCRAP = 0.16  # of the canvas
_SIDES = (0.44, 0.72)  # of a picture, least and greatest share of the canvas
_FAINT = 0.05  # darker pixels belong to no object

NUM_DRAWN = _CLOUDS**2 + 5 * _NUM_SCRAPS + 3
"""Random numbers that a canvas needs."""


def paste_on_canvases(pictures: Tensor, others: Tensor, drawn: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Put each picture on a canvas of its own; brighter than black is the object, which hides what lies below.

    Args:
        pictures: One per canvas, float32 of shape (N, side, side) in [0, 1], bright on black.
        others: Of which scraps are cut, uint8 of shape (M, side, side).
        drawn: What decides about each canvas, float32 of shape (N, `NUM_DRAWN`) in [0, 1).
        size: Side S of the canvases in pixels.

    Returns:
        Canvases, float32 of shape (N, S, S) in [0, 1], and the masks of the objects, bool of shape (N, S, S).
    """
    clouds, scraps, place = torch.split(drawn, [_CLOUDS**2, 5 * _NUM_SCRAPS, 3], dim=1)
    coarse = clouds.reshape(-1, 1, _CLOUDS, _CLOUDS)
    canvases = _CLOUDINESS * F.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)[:, 0]
    for scrap in torch.split(scraps, 5, dim=1):
        _paste_scraps(canvases, others, scrap)
    layers = torch.stack([pictures, (pictures > _FAINT).float()], dim=1)
    enlarged, opacity = F.grid_sample(layers, _where(place, size), align_corners=False).unbind(1)
    return torch.lerp(canvases, enlarged, opacity), opacity > 0.5


def _paste_scraps(canvases: Tensor, others: Tensor, drawn: Tensor) -> None:
    """Copy a square of one of the others into each canvas, in place; drawn, (N, 5), says which, from where, where."""
    size, side = canvases.shape[-1], others.shape[-1]
    length = min(round(_SIDE_OF_SCRAP * size), side)
    room = torch.tensor([len(others), *[side - length + 1] * 2, *[size - length + 1] * 2])
    which, *corners = (drawn * room).long().unbind(1)
    y_from, x_from, y, x = (corner[:, None] + torch.arange(length) for corner in corners)
    cut = others[which[:, None, None], y_from[:, :, None], x_from[:, None, :]] / 255
    canvases[torch.arange(len(canvases))[:, None, None], y[:, :, None], x[:, None, :]] = cut


def _where(drawn: Tensor, size: int) -> Tensor:
    """Return for each pixel of the canvases where it lies in its picture, as `grid_sample` counts: (N, size, size, 2).

    A picture is a whole number of pixels wide and lies at whole pixels; `drawn`, (N, 3), says its side and place.
    """
    least, greatest = (round(share * size) for share in _SIDES)
    side = least + (drawn[:, :1] * (greatest - least + 1)).floor()
    corners = (drawn[:, 1:] * (size - side + 1)).floor()
    pixels = torch.arange(size) + 0.5
    y, x = ((2 * (pixels - corner[:, None]) / side - 1) for corner in corners.unbind(1))
    grid_y, grid_x = y[:, :, None].expand(-1, -1, size), x[:, None, :].expand(-1, size, -1)
    return torch.stack([grid_x, grid_y], dim=3)
