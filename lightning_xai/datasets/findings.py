"""How findings in a chest are drawn, how often they are there, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_xai.datasets.chest import AIR, FLUID, Chest, Ellipse, Numbers, chest_of


class Drawn(NamedTuple):
    """A finding: the brightness that it adds, and its opacity, 0.5 at the edge of its mask; each (N, S, S)."""

    change: Tensor
    opacity: Tensor


def nodule(chest: Chest) -> Drawn:
    """Small round shadow in the middle of a lung."""
    lung, draw = chest.one_lung("nodule"), chest.numbers.between
    radius = draw(0.035, 0.055, "radius of nodule")
    x, y = lung.x + draw(-0.07, 0.07, "nodule across"), lung.y + draw(-0.17, 0.13, "nodule down")
    where = chest.inside(Ellipse(x, y, radius, radius))
    return Drawn(0.26 * where, where)


def effusion(chest: Chest) -> Drawn:
    """Fluid that fills the bottom of a lung, higher at its outer wall."""
    lung = chest.one_lung("effusion")
    level = lung.y + lung.down - chest.numbers.between(0.13, 0.24, "height of effusion")
    rise = 2.5 * (chest.x - lung.x) ** 2
    where = chest.inside(lung, 0.04) * chest.below(level - rise, 0.03)
    return Drawn(-AIR * 0.9 * where, where)


def cardiomegaly(chest: Chest) -> Drawn:
    """A heart that is half as wide again."""
    wide = chest.heart._replace(
        x=chest.heart.x + 0.02, across=chest.heart.across * chest.numbers.between(1.45, 1.75, "width of heart")
    )
    where = chest.inside(wide, 0.04)
    return Drawn(FLUID * (where - chest.inside(chest.heart, 0.04)).clamp(min=0), where)


def infiltrate(chest: Chest) -> Drawn:
    """Blotches without an edge in a part of a lung."""
    lung, draw = chest.one_lung("infiltrate"), chest.numbers.between
    radius = draw(0.09, 0.13, "radius of infiltrate")
    x, y = lung.x + draw(-0.03, 0.03, "infiltrate across"), lung.y + draw(-0.1, 0.1, "infiltrate down")
    where = chest.inside(Ellipse(x, y, radius, radius), 0.08) * chest.inside(lung, 0.06)
    return Drawn((0.17 + 0.3 * chest.numbers.landscape(len(chest.x), 14, "blotches")) * where, where)


def pneumothorax(chest: Chest) -> Drawn:
    """Air above a collapsed lung: a dark apex without vessels, and the thin line of the lung's edge."""
    lung = chest.one_lung("pneumothorax")
    collapsed = lung._replace(y=lung.y + chest.numbers.between(0.13, 0.17, "depth of pneumothorax"))
    whole, left = chest.inside(lung, 0.04), chest.inside(collapsed)
    where = whole * (1 - left)
    line = whole * 4 * left * (1 - left)
    return Drawn(-(0.13 + chest.markings) * where + 0.12 * line, where)


class Finding(NamedTuple):
    """A finding: how it is drawn, how often it is there, and whether readers mark it with a box."""

    draw: Callable[[Chest], Drawn]
    prevalence: float
    has_box: bool = True

    @property
    def name(self) -> str:
        """What the class is called."""
        return self.draw.__name__


FINDINGS = (
    Finding(nodule, 0.25),
    Finding(effusion, 0.3),
    Finding(cardiomegaly, 0.2),
    Finding(infiltrate, 0.25, has_box=False),
    Finding(pneumothorax, 0.05),
)


def draw_chests(labels: Tensor, numbers: Numbers, size: int) -> tuple[Tensor, Tensor]:
    """Draw chests with their findings.

    Args:
        labels: Which findings there are, bool (N, K), in the order of `FINDINGS`.
        numbers: Of the images.
        size: Side of the images in pixels.

    Returns:
        Brightness (N, size, size), about [0, 1], and where each finding is, bool (N, K, size, size).
    """
    chest = chest_of(numbers, size)
    images, masks = chest.brightness(), []
    for present, finding in zip(labels.unbind(1), FINDINGS, strict=True):
        drawn = finding.draw(chest)
        images = images + present[:, None, None] * drawn.change
        masks.append(present[:, None, None] & (drawn.opacity > 0.5))
    return images, torch.stack(masks, 1)
