"""What a metric says about each image of a probe, as a value of its own, and two of them compared image by image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric

Name = TypeVar("Name", int, str)


@dataclass(frozen=True, eq=False)
class ImageScores:
    """What one metric says about each image of a probe.

    Attributes:
        keys: Content key of each image, int64 (N,).
        target: The explained class, int64 (N,).
        rows: Values (N,) or (N, D), NaN where undefined.
        metric: Makes them a number.
        sign: Of the number; −1 turns the gain of a metric whose values get better as they fall.
    """

    keys: Tensor
    target: Tensor
    rows: Tensor
    metric: ExplanationMetric
    control_rows: Tensor | None = None
    sign: float = 1.0

    def estimate(self) -> Estimate:
        """Return the mean (or what else the metric makes of its rows), its standard error and the undefined images."""
        if self.control_rows is None:
            return self.metric.estimate(self.rows)
        found = self.metric.difference(self.rows, self.control_rows)
        return replace(found, value=self.sign * found.value)

    @property
    def higher_is_better(self) -> bool | None:
        """Direction of the number; of a gain always up."""
        return True if self.control_rows is not None else self.metric.higher_is_better

    def by(self, names: Sequence[Name]) -> dict[Name, ImageScores]:
        """Return the scores of the images of each name, such as a class or a group, numbers and names in order.

        Args:
            names: Of each image; those below 0, and empty ones, are none.
        """
        known = sorted({name for name in names if name not in ("", -1)}, key=_in_order)
        return {one: self.at(torch.tensor([i for i, name in enumerate(names) if name == one])) for one in known}

    def at(self, places: Tensor) -> ImageScores:
        """Return the scores of some images, by their places (n,)."""
        control = None if self.control_rows is None else self.control_rows[places]
        return replace(
            self, keys=self.keys[places], target=self.target[places], rows=self.rows[places], control_rows=control
        )


def difference(a: ImageScores, b: ImageScores) -> Estimate:
    """Return how much ``a`` exceeds ``b``, paired image by image, with the standard error of the paired difference.

    Compares two epochs (or two runs, or two explainers) on the images that both know, for the same explained class.

    Args:
        a: Such as ``monitor.latest.scores("faithfulness_gain")``.
        b: Such as ``monitor.history[0].scores("faithfulness_gain")``.

    Returns:
        Difference of the metric's values on the shared images, its standard error, and how many of them are undefined
        in either; NaN without shared images.

    Raises:
        ValueError: If they are of two metrics.

    Example:
        >>> from lightning_xai import Sparseness
        >>> keys, target = torch.tensor([5, 7]), torch.tensor([0, 1])
        >>> now, before = (
        ...     ImageScores(keys, target, torch.tensor(rows), Sparseness()) for rows in ([0.5, 0.75], [0.25, 0.75])
        ... )
        >>> difference(now, before)
        Estimate(value=0.125, error=0.125, undefined=0)
    """
    if type(a.metric) is not type(b.metric) or a.metric.settings() != b.metric.settings():
        raise ValueError(f"Expected scores of one metric, but got {a.metric!r} and {b.metric!r}.")
    if (a.control_rows is None) != (b.control_rows is None):
        raise ValueError("Expected scores or gains on both sides, but got one of each.")
    a, b = _shared(a, b)
    if not len(a.keys):
        return Estimate(math.nan)
    if a.control_rows is None or b.control_rows is None:
        return a.metric.difference(a.rows, b.rows)
    gains = [a.rows - a.control_rows, b.rows - b.control_rows]
    found = a.metric.difference(gains[0], gains[1])
    return replace(found, value=a.sign * found.value)


def _shared(a: ImageScores, b: ImageScores) -> tuple[ImageScores, ImageScores]:
    """Return the scores of the images, and explained classes, that both sides know, in one order."""
    place = {pair: index for index, pair in enumerate(zip(b.keys.tolist(), b.target.tolist(), strict=True))}
    pairs = [
        (index, place[pair])
        for index, pair in enumerate(zip(a.keys.tolist(), a.target.tolist(), strict=True))
        if pair in place
    ]
    first, second = (torch.tensor([pair[side] for pair in pairs], dtype=torch.int64) for side in (0, 1))
    return a.at(first), b.at(second)


def _in_order(name: int | str) -> tuple[bool, int, str]:
    """Return by what names are sorted: 2 before 10, also as texts, and both before words."""
    is_number = str(name).removeprefix("-").isdecimal()
    return not is_number, int(name) if is_number else 0, str(name)
