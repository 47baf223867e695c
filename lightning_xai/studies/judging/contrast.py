"""A difference with its interval, over images and over trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_xai.comparison.statistics.statistics import LEVEL, corrected_bootstrap, resamples
from lightning_xai.metrics.estimate import standard_error

FEWEST_TRAININGS = 6
_FEWEST_DIFFERING = 6  # of five that all point one way a fair coin makes as many in 1 of 16 cases, more than 5 %

Statistic: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contrast:
    """A difference with a 95 % interval, so that positive is better.

    Attributes:
        where: The networks, the data and what else a group of settings shares.
        value: Mean over images and trainings; NaN if undefined.
        low: Lower end of the interval.
        high: Upper end of it.
        trainings: How many networks of other seeds it is a mean over.
        p: Of Student's test over the means of at least six trainings; NaN with fewer.
        differing: Number of images with a difference that is not 0; fewer than six decide nothing.
        freedom: Degrees of freedom of one training's interval, its images less one.
        image_error: Standard error over images of the mean over several trainings; NaN for one.
        training_error: Standard error between several trainings; NaN for one.
    """

    where: str
    value: float
    low: float
    high: float
    trainings: int
    p: float = math.nan
    differing: int = _FEWEST_DIFFERING
    freedom: float = math.inf
    image_error: float = math.nan
    training_error: float = math.nan

    def sign(self, tests: int = 1) -> int:
        """1 or −1 if the interval excludes 0, else 0; see `ends`."""
        low, high = self.ends(tests)
        return 0 if self.differing < _FEWEST_DIFFERING else int(low > 0) - int(high < 0)

    def ends(self, tests: int = 1) -> tuple[float, float]:
        """Return the ends of the interval, wider if it is one of several any of which would decide (Bonferroni)."""
        if tests == 1:
            return self.low, self.high
        if self.trainings > 1:
            half = _half(self.image_error, self.training_error, self.trainings, tests)
            return self.value - half, self.value + half
        wider = quantile(self.freedom, tests) / quantile(self.freedom)
        return self.value - wider * (self.value - self.low), self.value + wider * (self.high - self.value)

    def __str__(self) -> str:
        """Return it in words."""
        p = "" if math.isnan(self.p) else f", p = {self.p:.2g}"
        return f"{self.where}: {self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}]{p}"


@cache
def quantile(freedom: float, tests: int = 1) -> float:
    """Return the two-sided 95 % quantile of Student's distribution, of the normal one without end of freedom.

    Args:
        freedom: Its degrees.
        tests: How many share the 5 %.

    Example:
        >>> round(quantile(float("inf")), 2), round(quantile(5), 2), round(quantile(5, tests=2), 2)
        (1.96, 2.57, 3.16)
    """
    from scipy.stats import norm, t

    beyond = (1 - LEVEL) / 2 / tests
    return float(norm.isf(beyond) if math.isinf(freedom) else t.isf(beyond, freedom))


def combined(where: str, rows: Sequence[Tensor]) -> Contrast:
    """Return the contrast of gains of one or several trainings.

    With one training the interval is a bootstrap over images. With several it is around the mean of their means, with
    two errors, whose squares add up: that over images, of each image's mean over the trainings, which explain the same
    images; and that between trainings, by Student's distribution.

    Args:
        where: See `Contrast`.
        rows: Of each training the gains of the same images, (n,), NaN where undefined.
    """
    known = [one.double() for one in rows if bool((~one.isnan()).any())]
    if not known:
        return undefined(where)
    of_images = torch.stack(known).nanmean(0)
    of_images = of_images[~of_images.isnan()]
    differing = int((of_images != 0).sum())
    if len(known) == 1:
        low, high = corrected_bootstrap(len(of_images), lambda places: of_images[places].mean(1), biased=False)
        return Contrast(where, float(of_images.mean()), low, high, 1, math.nan, differing, len(of_images) - 1)
    means = torch.stack([one.nanmean() for one in known])
    return several(where, means, float(standard_error(of_images)), differing)


def resampled(where: str, trainings: Sequence[tuple[int, Statistic]]) -> Contrast:
    """Return the contrast of a statistic that is no mean over images, such as a correlation.

    With one training the interval is a bootstrap over images, corrected for the bias that drawing images again gives a
    deviation or a rank. With several it is around the mean of their statistics, with two errors, whose squares add up:
    that of the images, drawn alike for all trainings, and that between trainings.

    Args:
        where: See `Contrast`.
        trainings: Of each the number n of images, and the statistic: of places (B, n) of drawn images it returns (B,).
    """
    values = [float(statistic(torch.arange(count)[None])[0]) for count, statistic in trainings]
    defined = [one for one, value in zip(trainings, values, strict=True) if not math.isnan(value)]
    if not defined:
        return undefined(where)
    count = defined[0][0]
    if len(defined) == 1:
        low, high = corrected_bootstrap(count, defined[0][1])
        value = next(value for value in values if not math.isnan(value))
        return Contrast(where, value, low, high, 1, math.nan, count, count - 1)
    drawn = resamples(count, lambda places: torch.stack([one(places).double() for _, one in defined]).nanmean(0))
    means = torch.tensor([value for value in values if not math.isnan(value)], dtype=torch.float64)
    return several(where, means, float(drawn.std()), count)


def several(where: str, means: Tensor, image_error: float, differing: int = _FEWEST_DIFFERING) -> Contrast:
    """Return the contrast of several trainings.

    Args:
        where: See `Contrast`.
        means: Of the trainings, (K,), at least two.
        image_error: Standard error over images of their mean; NaN where an image is alone.
        differing: See `Contrast`.
    """
    error = float(means.std()) / math.sqrt(len(means))
    found = with_errors(where, float(means.mean()), image_error, error, len(means))
    return replace(found, p=_p_over_trainings(means), differing=differing)


def with_errors(where: str, value: float, image_error: float, training_error: float, trainings: int) -> Contrast:
    """Return the contrast whose errors are known.

    Args:
        where: See `Contrast`.
        value: See `Contrast`.
        image_error: Standard error over images; NaN where an image is alone.
        training_error: Standard error between trainings; with one training it does not count.
        trainings: How many there are.
    """
    half = _half(image_error, training_error, trainings) if trainings > 1 else quantile(math.inf) * image_error
    return Contrast(
        where, value, value - half, value + half, trainings, image_error=image_error, training_error=training_error
    )


def undefined(where: str) -> Contrast:
    """Return the contrast of which nothing is known."""
    return Contrast(where, math.nan, math.nan, math.nan, 0)


def _half(image_error: float, training_error: float, trainings: int, tests: int = 1) -> float:
    """Return half of an interval with both errors: other images and other trainings would each move the mean."""
    of_trainings = quantile(trainings - 1, tests) * training_error
    return (
        of_trainings if math.isnan(image_error) else math.hypot(quantile(math.inf, tests) * image_error, of_trainings)
    )


def _p_over_trainings(means: Tensor) -> float:
    from scipy.stats import ttest_1samp

    if len(means) < FEWEST_TRAININGS or float(means.std()) == 0:
        return math.nan
    return float(ttest_1samp(means.numpy(), 0.0).pvalue)
