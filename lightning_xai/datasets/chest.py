"""How a healthy chest is drawn: brightness that is added up, as densities along a ray are.

Places and lengths are shares of the image's side. Every number belongs to an image by its key and to a part by its
purpose: what one part looks like does not depend on which others there are, nor on the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xai import _randomness
from lightning_xai.datasets.drawing import pixel_grid

AIR, FLUID = -0.3, 0.25
"""Brightness that lungs, and a heart, add to that of the body."""
_TISSUE, _BONE = 0.52, 0.06


@dataclass(frozen=True)
class Numbers:
    """Random numbers about images: the same for an image whatever else is drawn.

    Attributes:
        keys: Of the images, int64 (N,).
        seed: Of all randomness.
    """

    keys: Tensor
    seed: int

    def between(self, low: float, high: float, purpose: str) -> Tensor:
        """Return a number in [low, high) per image, float32 (N, 1, 1)."""
        return low + (high - low) * _randomness.uniform(self.keys, (1, 1), seed=self.seed, purpose=purpose)

    def landscape(self, size: int, num_cells: int, purpose: str) -> Tensor:
        """Return smooth hills in about [-0.5, 0.5], (N, size, size)."""
        cells = (1, num_cells, num_cells)
        coarse = _randomness.uniform(self.keys, cells, seed=self.seed, purpose=purpose) - 0.5
        return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[:, 0]

    def noise(self, size: int) -> Tensor:
        """Return standard normal numbers, (N, size, size)."""
        return _randomness.normal(self.keys, (size, size), seed=self.seed)


class Ellipse(NamedTuple):
    """Centre and radii, each (N, 1, 1)."""

    x: Tensor
    y: Tensor
    across: Tensor
    down: Tensor


@dataclass(frozen=True)
class Chest:
    """A healthy chest per image.

    Attributes:
        x: Of the pixels' centres, (S, S).
        y: Likewise.
        lungs: Those on the left and on the right of the image.
        heart: Of usual size.
        markings: Brightness of the vessels in the lungs, (N, S, S).
        numbers: Of the images.
    """

    x: Tensor
    y: Tensor
    lungs: tuple[Ellipse, Ellipse]
    heart: Ellipse
    markings: Tensor
    numbers: Numbers

    def inside(self, one: Ellipse, edge: float = 0.02) -> Tensor:
        """Return the opacity of an ellipse in [0, 1], (N, S, S), 0.5 at its edge, which is `edge` wide."""
        radius = torch.hypot((self.x - one.x) / one.across, (self.y - one.y) / one.down)
        return ((1 - radius) * torch.minimum(one.across, one.down) / edge + 0.5).clamp(0, 1)

    def below(self, height: Tensor, edge: float = 0.02) -> Tensor:
        """Return the opacity of what lies below a height (N, 1, 1) or (N, S, S)."""
        return ((self.y - height) / edge + 0.5).clamp(0, 1)

    def one_lung(self, purpose: str) -> Ellipse:
        """Return one lung of each image at random."""
        is_left = self.numbers.between(0, 1, f"side of {purpose}") < 0.5
        return Ellipse(*(torch.where(is_left, left, right) for left, right in zip(*self.lungs, strict=True)))

    def brightness(self) -> Tensor:
        """Return the healthy chest, (N, S, S)."""
        size = len(self.x)
        outside = (self.x - 0.5).abs() ** 4 / 0.46**4 + (self.y - 0.66).abs() ** 4 / 0.62**4
        body = ((1.0 - outside) / 0.15 + 0.5).clamp(0, 1)
        tilt = 0.35 * (self.x - 0.5).abs() + self.numbers.between(0, 0.1, "ribs")
        ribs = (torch.sin(2 * math.pi * 11 * (self.y - tilt)) - 0.3).clamp(min=0) * self.below(torch.tensor(0.16), 0.1)
        spine = torch.exp(-(((self.x - 0.5) / 0.04) ** 2))
        air = torch.maximum(*(self.inside(lung, 0.05) for lung in self.lungs))
        tissue = _TISSUE + _BONE * (ribs + spine) + 0.1 * self.numbers.landscape(size, 5, "tissue")
        return 0.04 + body * (tissue + air * (AIR + self.markings) + FLUID * self.inside(self.heart, 0.04))


def chest_of(numbers: Numbers, size: int) -> Chest:
    """Return a chest for each key, in images of this side."""
    x, y = (grid / size for grid in pixel_grid(size))

    def near(middle: float, reach: float, purpose: str) -> Tensor:
        return numbers.between(middle - reach, middle + reach, purpose)

    y_of_lungs, across, down = near(0.47, 0.02, "lungs"), near(0.155, 0.015, "width"), near(0.285, 0.015, "height")
    left, right = (
        Ellipse(near(middle, 0.015, f"lung at {middle}"), y_of_lungs, across, down) for middle in (0.29, 0.71)
    )
    usual = torch.tensor([0.11, 0.13])[:, None, None, None].expand(2, *across.shape)
    heart = Ellipse(near(0.55, 0.015, "heart"), near(0.63, 0.015, "height of heart"), *usual)
    markings = 0.14 * numbers.landscape(size, 16, "vessels")
    return Chest(x, y, (left, right), heart, markings, numbers)
