"""Accuracy beside a score: against scipy, a simulation whose truth is known, and brute force."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr, t

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.accuracy import accuracies, likely_accuracies
from lightning_xai.probing.decisions.alignment import Alignment, Point, rank_correlation
from tests.probing.decisions._made import autoregressive

NUM_SERIES = 600


def alignment(accuracies, scores, epochs=None, **settings):
    epochs = range(len(accuracies)) if epochs is None else epochs
    made = zip(epochs, range(len(accuracies)), accuracies, scores, strict=True)
    points = [Point(epoch, 10 * place, accuracy, Estimate(score)) for epoch, place, accuracy, score in made]
    return Alignment("val_acc", "xai/faithfulness_gain", points, **settings)


def naive_interval(first, second):
    """The definition of the docstring, lag by lag."""
    count, (a, b) = len(first), (rankdata(first), rankdata(second))
    rho = np.corrcoef(a, b)[0, 1]
    lag_1 = [((r[1:] - r.mean()) * (r[:-1] - r.mean())).sum() / ((r - r.mean()) ** 2).sum() for r in (a, b)]
    product = max(lag_1[0], 0) * max(lag_1[1], 0)
    effective = count / (1 + 2 * sum((1 - k / count) * product**k for k in range(1, count)))
    half = t.ppf(0.975, effective - 2) * math.sqrt((1 + rho**2 / 2) / (effective - 3)) if effective > 3 else math.inf
    most = 1 - 6 * 2 / (effective * (effective**2 - 1))
    middle = np.arctanh(np.clip(rho, -most, most))
    return min(rho, np.tanh(middle - half)), max(rho, np.tanh(middle + half)), effective


@pytest.mark.parametrize("count", [4, 5, 12, 60])
@pytest.mark.parametrize("ties", [False, True])
def test_value_is_scipys_and_interval_the_definition(count, ties):
    rng = np.random.default_rng(count)
    for _ in range(20):
        first, second = autoregressive(rng, count, 0.5, 0.3)
        if ties:
            first = first.round()
        found = rank_correlation(first.tolist(), second.tolist())
        if found is None:
            assert len(set(first.tolist())) == 1
            continue
        assert found.value == pytest.approx(spearmanr(first, second).statistic, abs=1e-6)
        assert (found.low, found.high, found.effective) == pytest.approx(naive_interval(first, second), abs=1e-5)
        assert found.effective <= count


@pytest.mark.parametrize("correlation", [0.0, 0.6])
@pytest.mark.parametrize(("persistence", "count"), [(0.0, 10), (0.6, 20), (0.9, 10), (0.9, 40)])
def test_interval_holds_the_truth_of_autocorrelated_series(persistence, count, correlation):
    rng = np.random.default_rng(7)
    truth = 6 / math.pi * math.asin(correlation / 2)
    found = [
        rank_correlation(*autoregressive(rng, count, persistence, correlation).tolist()) for _ in range(NUM_SERIES)
    ]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / NUM_SERIES)


def test_interval_is_no_wider_than_it_must_be():
    """Independent epochs, many of them: the usual interval, 95 % of the time right, and not nearly always."""
    rng = np.random.default_rng(3)
    found = [rank_correlation(*autoregressive(rng, 80, 0.0, 0.6).tolist()) for _ in range(NUM_SERIES)]
    truth = 6 / math.pi * math.asin(0.3)
    assert 0.93 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.985
    assert np.mean([one.effective for one in found]) > 75


def test_two_curves_that_rise_say_little_by_themselves():
    found = rank_correlation(list(range(20)), list(range(20)))
    assert found.value == pytest.approx(1.0)
    assert found.effective < 5
    assert found.low < 0


@pytest.mark.parametrize(("count", "sign"), [(5, 1), (5, -1), (9, 1)])
def test_a_perfect_order_is_no_certainty(count, sign):
    series = np.random.default_rng(0).permutation(count).tolist()
    found = rank_correlation(series, [sign * one for one in series])
    assert found.value == pytest.approx(sign)
    assert (found.high if sign > 0 else found.low) == pytest.approx(sign)
    assert found.high - found.low > 0.1


@pytest.mark.parametrize("values", [([1.0] * 5, [1.0, 2, 3, 4, 5]), ([1.0, 2, 3, 4, 5], [0.2] * 5)])
def test_a_constant_has_no_correlation(values):
    assert rank_correlation(*values) is None


@pytest.mark.parametrize("values", [([1.0, 2, 3], [1.0, 2, 3]), ([1.0] * 5, [1.0] * 4), ([], [])])
def test_too_few_epochs_are_refused(values):
    with pytest.raises(ValueError, match="at least 4, but got"):
        rank_correlation(*values)
    if len(values[0]) == len(values[1]):
        assert alignment(*values).correlation() is None


@pytest.mark.parametrize("signs", [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_front_by_brute_force(signs):
    rng = np.random.default_rng(5)
    for _ in range(30):
        accuracy, score = rng.integers(0, 5, (2, 9)) / 4
        found = alignment(accuracy, score, accuracy_sign=signs[0], score_sign=signs[1]).front()
        better = list(zip(signs[0] * accuracy, signs[1] * score, strict=True))
        front = {
            pair for pair in better if not any(a >= pair[0] and b >= pair[1] and (a, b) != pair for a, b in better)
        }
        assert {better[one.epoch] for one in found} == front
        assert [one.epoch for one in found] == sorted(better.index(pair) for pair in front)


def test_no_front_without_a_direction():
    assert alignment([0.5, 0.7], [0.1, 0.2], score_sign=None).front() == []


def test_epochs_by_their_numbers_and_by_steps_where_those_do_not_tell():
    made = alignment([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], epochs=[0, 1, 1])
    assert made.names_of(made.points) == ["0", "1 (step 10)", "1 (step 20)"]


def test_which_names_are_accuracies():
    names = [
        "val_acc_top5",
        "val/acc",
        "balanced_accuracy",
        "train_acc",
        "val_acc_step",
        "xai/probe_accuracy",
        "val_loss",
    ]
    assert likely_accuracies(names, "xai") == ["val/acc", "val_acc_top5", "balanced_accuracy"]
    assert accuracies(names, "xai") == ["val/acc", "val_acc_top5"]
