"""The outlines of the shapes, as functions of the distance to their edge.

Every function maps points `(x, y)` of a unit frame to the distance from the outline, negative inside. Close to the edge
the distances are exact (corners apart), which is all that anti-aliasing needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Outline(NamedTuple):
    """A shape in its unit frame.

    Attributes:
        name: What the class is called.
        distance: From the coordinates `x` and `y`, of any equal shape, to the distance from the edge, negative inside.
        area: Area in the unit frame. Shapes are scaled to equal area, so that size says nothing about the class.
    """

    name: str
    distance: Callable[[Tensor, Tensor], Tensor]
    area: float


def circle(x: Tensor, y: Tensor) -> Tensor:
    """Disc of radius 1."""
    return torch.hypot(x, y) - 1


def square(x: Tensor, y: Tensor) -> Tensor:
    """Square with half a side of 1."""
    return torch.maximum(x.abs(), y.abs()) - 1


def triangle(x: Tensor, y: Tensor) -> Tensor:
    """Equilateral triangle with its corners on the unit circle, one of them at (-1, 0)."""
    along, _ = _fold(x, y, num_sectors=3)
    return along - 0.5


def cross(x: Tensor, y: Tensor) -> Tensor:
    """Two bars of length 2 and width 0.7, at right angles."""
    x, y = x.abs(), y.abs()
    return torch.minimum(torch.maximum(x - 1, y - 0.35), torch.maximum(x - 0.35, y - 1))


def ring(x: Tensor, y: Tensor) -> Tensor:
    """Disc of radius 1 with a hole of radius 0.55."""
    return (torch.hypot(x, y) - 0.775).abs() - 0.225


def star(x: Tensor, y: Tensor) -> Tensor:
    """Star with five points on the unit circle, one of them at (1, 0), and its notches at radius 0.45."""
    notch_x, notch_y = 0.45 * math.cos(math.pi / 5), 0.45 * math.sin(math.pi / 5)
    length = math.hypot(notch_y, 1 - notch_x)
    along, across = _fold(x, y, num_sectors=5)
    return ((1 - notch_x) * across.abs() - notch_y * (1 - along)) / length


def crescent(x: Tensor, y: Tensor) -> Tensor:
    """Disc of radius 1 without the disc of radius 0.8 around (0.5, 0)."""
    return torch.maximum(torch.hypot(x, y) - 1, 0.8 - torch.hypot(x - 0.5, y))


def heart(x: Tensor, y: Tensor) -> Tensor:
    """Square on its tip with half a disc on each of two neighbouring sides."""
    x = x.abs()
    lobe = torch.hypot(x - 0.5, y + 0.5) - math.sqrt(0.5)
    return torch.minimum((x + y.abs() - 1) * math.sqrt(0.5), lobe)


def _fold(x: Tensor, y: Tensor, num_sectors: int) -> tuple[Tensor, Tensor]:
    """Turn every point into the first of `num_sectors` equal sectors, which lies around the x axis."""
    sector = 2 * math.pi / num_sectors
    angle = torch.remainder(torch.atan2(y, x) + sector / 2, sector) - sector / 2
    radius = torch.hypot(x, y)
    return radius * angle.cos(), radius * angle.sin()


OUTLINES = (
    Outline("circle", circle, math.pi),
    Outline("square", square, 4.0),
    Outline("triangle", triangle, 0.75 * math.sqrt(3)),
    Outline("cross", cross, 2.31),
    Outline("ring", ring, math.pi * (1 - 0.55**2)),
    Outline("star", star, 2.25 * math.sin(math.pi / 5)),
    Outline("crescent", crescent, 1.5294683),
    Outline("heart", heart, 2 + math.pi / 2),
)

REACH = 1.56
"""No point of any shape is farther from the origin than this, in radii of the disc with the same area."""
