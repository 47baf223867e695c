from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_xai.metrics.correlation import average_ranks, is_degenerate, pearson, spearman
from tests.metrics._harness import close


def _pairs(kind, count=20, size=300):
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, count, size, generator=random)
    second = second + torch.linspace(-2, 2, count)[:, None] * first  # from opposed to alike
    if kind == "rectified":
        return (first - 0.8).relu(), (second - 0.8).relu()
    if kind == "few levels":
        return first.round(), (2 * second).round()
    if kind == "binary":
        return (first > 1).float(), (second > 1).float()
    if kind == "signed zeros":
        return torch.where(first.abs() < 1, -0.0, first.relu()), second.relu()
    return first, second


KINDS = ["continuous", "rectified", "few levels", "binary", "signed zeros"]


@pytest.mark.parametrize("kind", KINDS)
def test_spearman_equals_scipy(kind):
    first, second = _pairs(kind)
    pairs = zip(first.double().numpy(), second.double().numpy(), strict=True)
    close(spearman(first, second), torch.tensor([stats.spearmanr(a, b).statistic for a, b in pairs]))


@pytest.mark.parametrize("kind", KINDS)
def test_pearson_equals_scipy(kind):
    first, second = _pairs(kind)
    pairs = zip(first.double().numpy(), second.double().numpy(), strict=True)
    close(pearson(first, second), torch.tensor([stats.pearsonr(a, b).statistic for a, b in pairs]))


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_equal_scipy(kind):
    rows = _pairs(kind)[0]
    assert np.array_equal(average_ranks(rows).numpy(), stats.rankdata(rows.numpy() + 0.0, axis=1).astype(np.float32))


def test_full_size_maps_keep_their_precision():
    random = torch.Generator().manual_seed(1)
    first = (torch.randn(2, 224, 224, generator=random)).relu()
    second = (first + torch.randn(2, 224, 224, generator=random) - 0.5).relu()
    pairs = zip(first.flatten(1).numpy(), second.flatten(1).numpy(), strict=True)
    expected = [stats.spearmanr(a, b).statistic for a, b in pairs]
    close(spearman(first, second), torch.tensor(expected))
    close(spearman(first, first), torch.ones(2), 1e-6)


def test_unrelated_rectified_maps_do_not_correlate():
    random = torch.Generator().manual_seed(2)
    first, second = (torch.randn(2, 50, 400, generator=random) - 1.0).relu()
    assert spearman(first, second).mean().abs() < 0.02


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_scale_does_not_matter(scale):
    first, second = _pairs("continuous")
    tolerance = 1e-2 if scale == 1e-38 else 1e-5  # subnormal numbers have few digits
    close(pearson(first * scale, second), pearson(first, second), tolerance)
    close(pearson(second, first * -scale), -pearson(first, second), tolerance)
    if scale != 1e-38:
        close(spearman(first * scale, second), spearman(first, second))


@pytest.mark.parametrize("function", [pearson, spearman])
def test_undefined_if_either_side_is_degenerate(function):
    fine = torch.tensor([[1.0, 2.0, 4.0]])
    for other in ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, -0.0, 0.0], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0]):
        other = torch.tensor([other])
        assert function(fine, other).isnan().all()
        assert function(other, fine).isnan().all()


def test_never_outside_minus_one_and_one():
    rows = torch.rand(500, 37)
    assert spearman(rows, rows).max() <= 1.0
    assert pearson(rows, -3.0 * rows).min() >= -1.0


def test_degenerate_by_hand():
    rows = torch.tensor([[5.0, 5.0], [1e8, 1e8 + 8], [0.0, 1e-30], [-1.0, 1.0], [math.nan, 1.0]])
    assert is_degenerate(rows).tolist() == [True, False, False, False, True]
    assert is_degenerate(torch.tensor([[1.0, 1.0 + 0.9e-8]], dtype=torch.float64)).tolist() == [True]
    assert is_degenerate(torch.tensor([[1.0, 1.0 + 1.1e-8]], dtype=torch.float64)).tolist() == [False]


def test_maps_of_two_axes_are_flattened():
    first, second = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(spearman(first, second), spearman(first.flatten(1), second.flatten(1)))
