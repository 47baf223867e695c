"""Whether accuracy and an explanation score move together over the epochs of a run, and which epochs none beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xai.metrics.correlation import average_ranks, pearson
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.choosing import unbeaten

LEAST_EPOCHS = 4  # the standard error of Fisher's z needs more than three

_LEVEL = 0.95


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation of two series over time, with an interval.

    Attributes:
        value: In [-1, 1].
        low: Lower end of the 95 % interval.
        high: Upper end; with three effective epochs or fewer the interval is [-1, 1].
        effective: How many independent epochs the series are worth, at most as many as there are.
    """

    value: float
    low: float
    high: float
    effective: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Point:
    """One explained epoch.

    Attributes:
        epoch: From 0.
        step: As the history counts it.
        accuracy: As it was logged.
        score: The mean of an explanation score, with its standard error.
    """

    epoch: int
    step: int
    accuracy: float
    score: Estimate


@dataclass(frozen=True)
class Alignment:
    """The accuracy and one explanation score of a run.

    Attributes:
        accuracy: Its key.
        score: Full key of the explanation score.
        points: The epochs that have both, in the order of time.
        accuracy_sign: 1 where a higher accuracy is better, −1 where the metric named is a loss.
        score_sign: Likewise; None where the score has no direction.
        num_explained: Explained epochs, also those that lack one of both.
    """

    accuracy: str
    score: str
    points: Sequence[Point]
    accuracy_sign: float = 1.0
    score_sign: float | None = 1.0
    num_explained: int = 0

    def correlation(self) -> RankCorrelation | None:
        """Return how accuracy and score, as they were logged, go together; None below four epochs or for a constant."""
        if len(self.points) < LEAST_EPOCHS:
            return None
        return rank_correlation([one.accuracy for one in self.points], [one.score.value for one in self.points])

    def front(self) -> list[Point]:
        """Return the epochs that none beats in both accuracy and score; none where the score has no direction."""
        sign = self.score_sign
        if sign is None:
            return []
        values = [(self.accuracy_sign * one.accuracy, sign * one.score.value) for one in self.points]
        return [self.points[place] for place in unbeaten(values)]

    def names_of(self, points: Sequence[Point]) -> list[str]:
        """Return epochs by their numbers, with the step where an epoch was explained more than once."""
        epochs = [one.epoch for one in self.points]
        return [f"{one.epoch}" if epochs.count(one.epoch) == 1 else f"{one.epoch} (step {one.step})" for one in points]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation | None:
    """Return Spearman's correlation of two series, and a 95 % interval that knows that epochs resemble the last one.

    The interval is Fisher's, z ± t·√((1 + ρ²/2) / (m − 3)) (Bonett and Wright, 2000), with the effective number m of
    epochs in place of n, and the quantile t of m − 2 degrees of freedom, around |ρ| of at most that of m ranks of
    which two neighbours are exchanged. By Bartlett (1935), for series that are AR(1)
    with the lag-1 autocorrelations a and b of their ranks, m = n / (1 + 2 Σₖ (1 − k/n)(ab)ᵏ); negative ones count as 0.
    For AR(1) series with a = b ≤ 0.9 and 6 to 100 epochs it holds the truth in 94 to 100 % of cases (the usual
    interval: in 52 % where a = b = 0.9, n = 100). Both series usually rise while a network learns: they correlate by
    that alone, which the width of the interval says, and neither is the other's cause.

    Args:
        first: At least four finite values.
        second: As many.

    Returns:
        None where either is constant.

    Raises:
        ValueError: If their lengths differ, or there are fewer than four.

    Example:
        >>> print(rank_correlation([0.5, 0.7, 0.6, 0.8, 0.7, 0.9], [0.1, 0.3, 0.2, 0.3, 0.4, 0.5]))
        0.87 [-0.51, 1.00]
    """
    if len(first) != len(second) or len(first) < LEAST_EPOCHS:
        raise ValueError(
            f"Expected `first` and `second` to hold as many epochs, at least {LEAST_EPOCHS}, but got {len(first)} and "
            f"{len(second)}."
        )
    ranks = [average_ranks(torch.tensor([values], dtype=torch.float64)).double() for values in (first, second)]
    value = float(pearson(*ranks))
    if math.isnan(value):
        return None
    effective = _effective_number(len(first), *(_autocorrelation(of_one[0]) for of_one in ranks))
    return RankCorrelation(value, *interval_of(value, effective), effective)


def _autocorrelation(ranks: Tensor) -> float:
    """Return the lag-1 autocorrelation of a series (n,), negative ones as 0: they would promise more than n epochs."""
    centred = ranks - ranks.mean()
    return max(0.0, float((centred[1:] * centred[:-1]).sum() / centred.square().sum()))


def _effective_number(count: int, first: float, second: float) -> float:
    shared = sum((1.0 - lag / count) * (first * second) ** lag for lag in range(1, count))
    return count / (1.0 + 2.0 * shared)


def interval_of(value: float, effective: float) -> tuple[float, float]:
    """Return the 95 % interval of a correlation by the effective number of epochs; see `rank_correlation`."""
    from scipy.special import stdtrit

    if effective <= LEAST_EPOCHS - 1:
        return -1.0, 1.0
    error = math.sqrt((1.0 + value * value / 2.0) / (effective - 3.0))
    half = float(stdtrit(effective - 2.0, 0.5 + _LEVEL / 2.0)) * error
    # a perfect order of few epochs is no certainty: one pair of neighbours could as well have been the other way round
    most = 1.0 - 12.0 / (effective * (effective**2 - 1.0))
    middle = math.atanh(max(-most, min(most, value)))
    return min(value, math.tanh(middle - half)), max(value, math.tanh(middle + half))
