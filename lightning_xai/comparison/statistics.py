"""Tests, intervals, ranks and correlations of values per image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Correlation: TypeAlias = Literal["spearman", "kendall"]
LEVEL = 0.95
_RESAMPLES = 2000
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

    Differences of 0 are left out, as Wilcoxon did; 1 if all are, NaN without any image. Exact up to 50 images without
    ties, else normal with a correction for ties.
    """
    from scipy.stats import wilcoxon as signed_rank

    known = differences[~differences.isnan()].double()
    if not len(known):
        return math.nan
    if not bool((known != 0).any()):
        return 1.0
    return float(signed_rank(known.numpy(), zero_method="wilcox").pvalue)


def bootstrap(count: int, statistic: Callable[[Tensor], Tensor], seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over images drawn with replacement.

    Args:
        count: Number of images.
        statistic: Of places (B, count) of the drawn images: returns (B,).
        seed: Of the draws, which are the same whatever is compared.

    Returns:
        Its ends; NaN for fewer than two images.
    """
    if count < 2:
        return math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    together = max(_RESAMPLED_TOGETHER // count, 1)
    sizes = [min(together, _RESAMPLES - start) for start in range(0, _RESAMPLES, together)]
    drawn = torch.cat([statistic(torch.randint(count, (size, count), generator=generator)) for size in sizes]).double()
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = drawn[~drawn.isnan()].quantile(ends).tolist() if bool((~drawn.isnan()).any()) else (math.nan,) * 2
    return low, high


def ranks_of(values: Sequence[float], *, higher_is_better: bool) -> list[float]:
    """Return the rank of each value, 1 for the best; equal ones share their mean rank, NaN has none.

    Example:
        >>> ranks_of([0.5, 0.75, 0.5, float("nan")], higher_is_better=True)
        [2.5, 1.0, 2.5, nan]
    """
    from scipy.stats import rankdata

    signed = [-value if higher_is_better else value for value in values]
    ranks: list[float] = rankdata(signed, nan_policy="omit").tolist()
    return ranks


def correlation(first: Sequence[float], second: Sequence[float], how: Correlation) -> tuple[float, float, int]:
    """Return the rank correlation of two sequences, its p-value, and how many pairs are defined in both.

    Returns:
        NaN for both numbers with fewer than three pairs, or where a side is constant.
    """
    from scipy.stats import kendalltau, spearmanr

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if not (math.isnan(a) or math.isnan(b))]
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    if len(pairs) < 3 or len(set(left)) == 1 or len(set(right)) == 1:
        return math.nan, math.nan, len(pairs)
    found = (spearmanr if how == "spearman" else kendalltau)(left, right)
    return float(found.statistic), float(found.pvalue), len(pairs)
