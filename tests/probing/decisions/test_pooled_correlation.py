"""The correlations of several runs as one: by hand, and against a simulation whose truth is known."""

import math

import numpy as np
import pytest
from scipy.stats import t

from lightning_xai.probing.decisions.alignment import RankCorrelation, rank_correlation
from lightning_xai.probing.decisions.pooled_correlation import pooled_correlation
from tests.probing.decisions._made import autoregressive

NUM_TRIALS = 300


def made(value, effective):
    return RankCorrelation(value, -1.0, 1.0, effective)


def test_one_run_is_itself():
    rng = np.random.default_rng(0)
    one = rank_correlation(*autoregressive(rng, 30, 0.3, 0.5).tolist())
    pooled = pooled_correlation([one])
    assert (pooled.value, pooled.low, pooled.high, pooled.effective) == pytest.approx(
        (one.value, one.low, one.high, one.effective)
    )


def test_runs_count_by_what_they_add():
    runs = [made(0.2, 8.0), made(0.8, 13.0), made(-1.0, 3.0)]  # weights 5, 10 and nothing
    pooled = pooled_correlation(runs)
    value = (5 * 0.2 + 10 * 0.8) / 15
    half = t.ppf(0.975, 16) * math.sqrt((1 + value**2 / 2) / 15)
    assert pooled.effective == 18.0
    assert (pooled.value, pooled.low, pooled.high) == pytest.approx(
        (value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half))
    )


def test_perfect_orders_of_few_epochs_are_no_certainty():
    pooled = pooled_correlation([made(1.0, 5.0), made(1.0, 5.0)])
    assert (pooled.value, pooled.high) == (1.0, 1.0)
    middle = math.atanh(1 - 12 / (7 * 48))  # of seven epochs with one pair of neighbours exchanged
    assert pooled.low == pytest.approx(math.tanh(middle - t.ppf(0.975, 5) * math.sqrt(1.5 / 4)))


def test_there_is_none_where_no_run_adds_anything():
    assert pooled_correlation([]) is None
    assert pooled_correlation([made(0.9, 2.5), made(0.9, 3.0)]) is None


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize(("persistence", "count", "least"), [(0.0, 10, 0.95), (0.6, 20, 0.94), (0.9, 20, 0.91)])
def test_interval_holds_the_truth_that_runs_share(persistence, count, least, correlation):
    rng = np.random.default_rng(1)
    truth = 6 / math.pi * math.asin(correlation / 2)
    found = [
        pooled_correlation(
            [rank_correlation(*autoregressive(rng, count, persistence, correlation).tolist()) for _ in range(3)]
        )
        for _ in range(NUM_TRIALS)
    ]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= least - 2 * math.sqrt(0.05 * 0.95 / NUM_TRIALS)
