"""Tests, intervals, ranks and correlations of values per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Correlation: TypeAlias = Literal["spearman", "kendall"]
LEVEL = 0.95
_RESAMPLES = 2000
_MOST_EXACT = 50
_MOST_ORDERED = 8
_RESAMPLED_TOGETHER = 1 << 22  # values


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method; NaN stays, and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = list(map(float, p_values)), 0.0
    for number, (p, place) in enumerate(order):
        largest = max(largest, min((len(order) - number) * p, 1.0))
        corrected[place] = largest
    return corrected


def wilcoxon(differences: Tensor) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test that paired differences (N,) are around 0.

    Differences of 0 are left out, as Wilcoxon did; 1 if all are, NaN without any image. Exact for up to 50 others, also
    with ties: of all signs that these ranks could have, the share whose sum is as far from its mean. Beyond, normal
    with the correction for ties.

    Example:
        >>> wilcoxon(torch.tensor([-3.0, 2.0, -5.0, -0.5]))  # ranks {2}; as low are {} and {1}
        0.375
    """
    from scipy.stats import rankdata

    known = differences[~differences.isnan()].double()
    others = known[known != 0]
    if not len(others):
        return 1.0 if len(known) else math.nan
    ranks = torch.from_numpy(rankdata(others.abs().numpy()))
    off = abs(float(ranks[others > 0].sum() - ranks.sum() / 2))
    if len(others) <= _MOST_EXACT:
        return _share_as_far(ranks, off)
    deviation = math.sqrt(float(ranks.square().sum()) / 4)  # of a sum of ranks with random signs: ties are in it
    return math.erfc(off / deviation / math.sqrt(2))


def _share_as_far(ranks: Tensor, off: float) -> float:
    """Return the share of all signs of ``ranks`` whose sum of positive ones is at least ``off`` from its mean."""
    doubled: list[int] = (2 * ranks).round().long().tolist()  # ranks that are shared end in a half
    ways = torch.zeros(sum(doubled) + 1, dtype=torch.float64)
    ways[0] = 1.0
    for rank in doubled:
        ways = (ways + torch.cat([torch.zeros(rank, dtype=torch.float64), ways[: len(ways) - rank]])) / 2
    distance = (torch.arange(len(ways)) - sum(doubled) / 2).abs() / 2
    return min(float(ways[distance >= off - 1e-9].sum()), 1.0)


def resamples(count: int, statistic: Callable[[Tensor], Tensor], seed: int = 0) -> Tensor:
    """Return what a statistic is of images drawn with replacement, float64 (B,), without those that are undefined.

    Args:
        count: Number of images.
        statistic: Of places (B, count) of the drawn images: returns (B,).
        seed: Of the draws, which are the same whatever is compared.
    """
    generator = torch.Generator().manual_seed(seed)
    together = max(_RESAMPLED_TOGETHER // count, 1)
    sizes = [min(together, _RESAMPLES - start) for start in range(0, _RESAMPLES, together)]
    drawn = torch.cat([statistic(torch.randint(count, (size, count), generator=generator)) for size in sizes]).double()
    return drawn[~drawn.isnan()]


def bootstrap(count: int, statistic: Callable[[Tensor], Tensor], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over images drawn with replacement.

    Args:
        count: Number of images.
        statistic: See `resamples`.
        seed: See `resamples`.

    Returns:
        Its ends; NaN for fewer than two images.
    """
    drawn = resamples(count, statistic, seed) if count > 1 else torch.empty(0)
    return _quantiles(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])


def corrected_bootstrap(
    count: int, statistic: Callable[[Tensor], Tensor], seed: int = 0, *, biased: bool = True
) -> tuple[float, float]:
    """Return the 95 % percentile interval, as much wider as Student's for few images, and corrected for bias.

    Drawing images again draws some twice, which moves what is no mean: a deviation grows, a rank goes to the middle.
    Efron's correction shifts the percentiles by the share of draws that lie below the statistic itself; Hesterberg's
    expansion takes those of ``√(n / (n − 1)) · t`` instead of 1.96.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, 14.3; Hesterberg, "What Teachers Should Know
    About the Bootstrap", 2015, https://doi.org/10.1080/00031305.2015.1089789.

    Args:
        count: Number of images.
        statistic: See `resamples`.
        seed: See `resamples`.
        biased: Whether to correct for bias; a mean has none.

    Returns:
        Its ends; NaN for fewer than two images.
    """
    from scipy.stats import norm, t

    if count < 2:
        return math.nan, math.nan
    drawn = resamples(count, statistic, seed)
    value = float(statistic(torch.arange(count)[None])[0])
    below = (drawn < value).double().mean() + (drawn == value).double().mean() / 2
    shift = float(norm.ppf(float(below.clamp(1 / _RESAMPLES, 1 - 1 / _RESAMPLES)))) if biased else 0.0
    half = math.sqrt(count / (count - 1)) * float(t.isf((1 - LEVEL) / 2, count - 1))
    return _quantiles(drawn, [float(norm.cdf(2 * shift - half)), float(norm.cdf(2 * shift + half))])


def _quantiles(drawn: Tensor, levels: Sequence[float]) -> tuple[float, float]:
    if not len(drawn):
        return math.nan, math.nan
    low, high = drawn.double().quantile(torch.tensor(levels, dtype=torch.float64)).tolist()
    return low, high


def mean_interval(values: Tensor) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of values of images, (N,), NaN left out; see `bootstrap`."""
    known = values[~values.isnan()].double()
    return bootstrap(len(known), lambda places: known[places].mean(1))


def ranks_of(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the greatest; equal ones share their mean rank, NaN has none.

    Example:
        >>> ranks_of([0.5, 0.75, 0.5, float("nan")])
        [2.5, 1.0, 2.5, nan]
    """
    from scipy.stats import rankdata

    ranks: list[float] = rankdata([-value for value in values], nan_policy="omit").tolist()
    return ranks


def correlation(first: Sequence[float], second: Sequence[float], how: Correlation) -> tuple[float, float, int]:
    """Return the rank correlation of two sequences, its p-value, and how many pairs are defined in both.

    The two-sided p-value is that of scipy, but for Spearman's correlation of up to 8 pairs exact: the share of all
    orders of one side that correlate as much. (Student's t would say 0 for three pairs in order, of six orders.)

    Returns:
        NaN for both numbers with fewer than three pairs, or where a side is constant.

    Example:
        >>> correlation([1.0, 2.0, 3.0], [0.5, 0.6, 0.9], "spearman")  # two of six orders
        (1.0, 0.3333333333333333, 3)
    """
    from scipy.stats import kendalltau, spearmanr

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if not (math.isnan(a) or math.isnan(b))]
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) < 3 or len(set(left)) == 1 or len(set(right)) == 1:
        return math.nan, math.nan, len(pairs)
    found = (spearmanr if how == "spearman" else kendalltau)(left, right)
    is_exact = how == "spearman" and len(pairs) <= _MOST_ORDERED
    return float(found.statistic), _share_as_ordered(left, right) if is_exact else float(found.pvalue), len(pairs)


def _share_as_ordered(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the share of all orders of one side in which the ranks correlate at least as much, either way."""
    from scipy.stats import rankdata

    first, second = (torch.from_numpy(rankdata(side)) - (len(side) + 1) / 2 for side in (left, right))
    products = (first * second[_orders(len(first))]).sum(1).abs()
    return float((products >= abs(float((first * second).sum())) - 1e-9).double().mean())


@cache
def _orders(count: int) -> Tensor:
    return torch.tensor(list(permutations(range(count))))
