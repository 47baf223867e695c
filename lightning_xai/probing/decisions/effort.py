"""How many images are explained, how often, so that it takes no more than a share of a run's time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_IMAGES = 8
"""Fewer are not worth an explanation: rather than these, explain less often."""


@dataclass(frozen=True)
class Effort:
    """How many images are explained, and how often.

    Attributes:
        num_images: Of the probe of each validation loader.
        every_n_epochs: From one explanation to the next, where steps do not count.
        every_n_steps: Likewise in optimizer steps; None where epochs count.
    """

    num_images: int
    every_n_epochs: int = 1
    every_n_steps: int | None = None

    def __str__(self) -> str:
        """Return the settings as they are written in Python."""
        often = "every_n_epochs" if self.every_n_steps is None else "every_n_steps"
        return f"num_images={self.num_images}, {often}={getattr(self, often)}"


@dataclass(frozen=True)
class BudgetChoice:
    """What a budget was found to allow.

    Attributes:
        max_overhead: The budget, a share of a fit's time.
        asked: The most that was to be explained.
        chosen: What is explained; set without a budget, it gives the same values.
        most_images: How many images there would have been to explain, at most, in one loader's probe.
        measured: The times that it was chosen from, in words.
    """

    max_overhead: float
    asked: Effort
    chosen: Effort
    most_images: int
    measured: str


def afforded(
    seconds_per_image: float,
    sizes: Sequence[int],
    *,
    seconds_per_unit: float,
    interval: float,
    max_overhead: float,
    beside: float = 0.0,
) -> tuple[int, int | None]:
    """Return how many images of each probe can be explained, and how often, for a share of a run's time.

    Of an interval of n units, which lasts n · t without explaining, explaining may take e with e / (e + n · t) ≤
    ``max_overhead``. Images come first: as many as fit into the given interval. Only where not even `LEAST_IMAGES` of
    each probe (all of a smaller one) fit is the interval longer.

    Args:
        seconds_per_image: That explaining takes.
        sizes: Number of images of each loader's probe, the most that may be explained.
        seconds_per_unit: t, of an epoch or an optimizer step, whichever the interval is counted in.
        interval: The shortest from one explanation to the next, in units.
        max_overhead: Share of the run's time in (0, 1).
        beside: What is explained beside the probes in any case, in images.

    Returns:
        Number of images, and the interval in whole units; None where the given one is long enough.

    Example:
        An epoch of 57 s leaves 3 s for explaining at 5 %: 6 images of half a second, so 8 in every second epoch.

        >>> afforded(0.5, [32], seconds_per_unit=57.0, interval=1, max_overhead=0.05)
        (8, 2)
        >>> afforded(0.1, [32], seconds_per_unit=57.0, interval=1, max_overhead=0.05)
        (30, None)
        >>> afforded(0.1, [32], seconds_per_unit=57.0, interval=1, max_overhead=0.05, beside=4.0)
        (26, None)
    """
    allowed_per_unit = seconds_per_unit * max_overhead / (1.0 - max_overhead)
    most = max(sizes)

    def seconds(num_images: int) -> float:
        return seconds_per_image * (beside + sum(min(num_images, size) for size in sizes))

    fitting = (count for count in range(most, 0, -1) if seconds(count) <= allowed_per_unit * interval + _ROUNDING)
    num_images = next(fitting, 0)
    least = min(LEAST_IMAGES, most)
    if num_images >= least:
        return num_images, None
    return least, math.ceil(seconds(least) / max(allowed_per_unit, _ROUNDING) - _ROUNDING)


_ROUNDING = 1e-9
