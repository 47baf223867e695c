"""Tests and intervals beside naive ones, and beside scipy's."""

import math
from itertools import permutations, product

import pytest
import torch
from scipy import stats

from lightning_xai.comparison.statistics.statistics import bootstrap, correlation, holm, ranks_of, wilcoxon


def naive_wilcoxon(differences):
    """All signs, one by one."""
    others = [d for d in differences if d]
    sizes = sorted(abs(d) for d in others)
    rank = {s: (sizes.index(s) + 1 + len(sizes) - sizes[::-1].index(s)) / 2 for s in sizes}
    ranks = [rank[abs(d)] for d in others]
    middle = sum(ranks) / 2
    off = abs(sum(r for r, d in zip(ranks, others, strict=True) if d > 0) - middle)
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in product((0, 1), repeat=len(ranks))]
    return sum(abs(s - middle) >= off - 1e-9 for s in sums) / len(sums)


@pytest.mark.parametrize("differences", [[1, -2, 3, 4, 5], [1, 1, -1, 2, 0, 2, -3], [0.5, 0.5, 0.5], [-1]], ids=str)
def test_wilcoxon_is_the_share_of_signs_as_far(differences):
    assert wilcoxon(torch.tensor(differences, dtype=torch.float64)) == pytest.approx(naive_wilcoxon(differences))


@pytest.mark.parametrize("count", [20, 50, 51, 200])
def test_wilcoxon_beside_scipy(count):
    differences = torch.randn(count, dtype=torch.float64) + 0.2
    expected = stats.wilcoxon(differences.numpy(), method="auto").pvalue
    assert wilcoxon(differences) == pytest.approx(expected, rel=1e-9)
    tied = (differences * 4).round()
    if int((tied != 0).sum()) > 50:
        expected = stats.wilcoxon(tied.numpy(), zero_method="wilcox").pvalue
        assert wilcoxon(tied) == pytest.approx(expected, rel=1e-9)


def test_wilcoxon_without_differences():
    assert wilcoxon(torch.zeros(5)) == 1.0
    assert math.isnan(wilcoxon(torch.full((3,), math.nan)))
    assert wilcoxon(torch.tensor([math.nan, 1.0, 2.0])) == wilcoxon(torch.tensor([1.0, 2.0]))


def test_holm_by_hand():
    assert holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_bootstrap_covers_as_often_as_it_says():
    """95 % over 200 samples of 40: between 90 and 99 % with nearly certainty."""
    covered = 0
    for _ in range(200):
        values = torch.randn(40, dtype=torch.float64)
        low, high = bootstrap(40, lambda places, values=values: values[places].mean(1))
        covered += low <= 0 <= high
    assert 180 <= covered <= 198


def test_the_bootstrap_is_seeded_and_needs_two_images():
    values = torch.rand(9)

    def mean(places):
        return values[places].mean(1)

    assert bootstrap(9, mean) == bootstrap(9, mean) != bootstrap(9, mean, seed=1)
    assert all(map(math.isnan, bootstrap(1, mean)))
    assert all(map(math.isnan, bootstrap(9, lambda places: torch.full((len(places),), math.nan))))


def test_the_bootstrap_is_that_of_scipy():
    values = torch.rand(30, dtype=torch.float64)
    expected = stats.bootstrap((values.numpy(),), lambda x, axis: x.mean(axis), n_resamples=20000, method="percentile")
    found = bootstrap(30, lambda places: values[places].mean(1))
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.02)


def test_ranks_share_and_leave_out():
    assert ranks_of([3.0, 3.0, 5.0, math.nan, -1.0]) == pytest.approx([2.5, 2.5, 1.0, math.nan, 4.0], nan_ok=True)


def test_correlations_by_hand():
    rising, other = [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 40.0, 30.0]
    assert correlation(rising, other, "spearman")[0] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert correlation(rising, other, "kendall")[0] == pytest.approx((5 - 1) / 6)
    assert correlation([*rising, math.nan], [*other, 1.0], "kendall")[2] == 4
    assert correlation(rising, other, "spearman")[1] == pytest.approx(8 / 24)  # 0.8 or more: 4 orders of 24, either way
    for bad in ([1.0, 2.0], [1.0, math.nan, 2.0], [1.0, 1.0, 1.0]):
        assert math.isnan(correlation(bad, [3.0, 2.0, 1.0][: len(bad)], "spearman")[0])


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_correlation_of_few_counts_every_order(count):
    generator = torch.Generator().manual_seed(count)
    first, second = (torch.randint(4, (count,), generator=generator).tolist() for _ in range(2))  # with ties
    rho, p, _ = correlation(first, second, "spearman")
    assert rho == pytest.approx(stats.spearmanr(first, second).statistic)
    if count > 8:
        assert p == pytest.approx(stats.spearmanr(first, second).pvalue)
    else:
        every = [stats.spearmanr(first, order).statistic for order in permutations(second)]
        assert p == pytest.approx(sum(abs(r) >= abs(rho) - 1e-9 for r in every) / len(every))
