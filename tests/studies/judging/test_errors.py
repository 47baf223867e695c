"""The rules of verdicts: what shares images, what is drawn again, what could be chance, by definition or simulation."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.statistics.statistics import bootstrap, corrected_bootstrap
from lightning_xai.studies import Findings, Network
from lightning_xai.studies.judging.contrast import Contrast, combined, quantile, resampled
from lightning_xai.studies.judging.means import mean_of, wilson
from lightning_xai.studies.judging.over_networks import over_networks
from lightning_xai.studies.judging.verdict import AtLeast, Exactly, Within, outcome_of
from tests.studies._made import made_table


def drawn(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_trainings_explain_the_same_images():
    of_images = drawn(40)  # what all trainings have in common
    rows = list(of_images + 0.01 * drawn(6, 40, seed=1))
    found = combined("x", rows)
    one = stats.sem(torch.stack(rows).mean(0).numpy())
    assert found.image_error == pytest.approx(one)
    between = stats.t.ppf(0.975, 5) * stats.sem(torch.stack(rows).mean(1).numpy())
    assert found.high - found.value == pytest.approx(math.hypot(stats.norm.ppf(0.975) * one, between))
    assert found.image_error > 2 * stats.sem(of_images.numpy()) / math.sqrt(6)  # as if each had images of its own
    holed = [row.clone() for row in rows]
    holed[0][3] = math.nan  # defined by five of six trainings
    means = np.nanmean(torch.stack(holed).numpy(), 0)
    assert combined("x", holed).image_error == pytest.approx(stats.sem(means))
    again = resampled("x", [(40, lambda places, row=row: row[places].mean(1)) for row in rows])
    assert again.image_error == pytest.approx(one, rel=0.05)


def test_intervals_of_several_trainings_cover_what_they_should():
    of_images, between, both = drawn(800, 1, 32), 0.2 * drawn(800, 6, 1, seed=1), 0.3 * drawn(800, 6, 32, seed=2)
    found = [combined("x", list(rows)) for rows in of_images + between + both]
    assert 0.94 < np.mean([one.low < 0 < one.high for one in found]) < 0.98
    apart = [math.sqrt(sum(float(row.var()) / 32 for row in rows)) / 6 for rows in of_images + between + both]
    assert np.mean([abs(one.value) < 1.96 * error for one, error in zip(found, apart, strict=True)]) < 0.8


def test_the_error_of_a_mean_of_trainings_is_that_of_the_mean_image():
    rows = {(f"m-s{seed}", "a"): (0.5 + 0.1 * drawn(12, seed=7) + 0.01 * seed).tolist() for seed in range(3)}
    table = made_table(rows)
    found = mean_of("x", table, [Setting(f"m-s{seed}", "d", "none", "label") for seed in range(3)], "a", "sparseness")
    values = np.array(list(rows.values()))
    assert found.image_error == pytest.approx(stats.sem(values.mean(0)), rel=1e-5)
    assert found.training_error == pytest.approx(stats.sem(values.mean(1)), rel=1e-5)
    half = math.hypot(stats.norm.ppf(0.975) * found.image_error, stats.t.ppf(0.975, 2) * found.training_error)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


def test_a_mean_over_images_is_students_and_a_share_is_wilsons():
    setting = Setting("m", "d", "none", "label")
    values = [0.2, 0.5, 0.4, 0.7]
    found = mean_of("x", made_table({("m", "a"): values}), [setting], "a", "sparseness")
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    for hits in (0, 1, 20, 48):
        share = made_table({("m", "a"): [1.0] * hits + [0.0] * (48 - hits)})
        found = mean_of("x", share, [setting], "a", "sparseness", is_share=True)
        expected = stats.binomtest(hits, 48).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert wilson(hits, 48) == (found.low, found.high)
    nothing = made_table({("m", "a"): [0.0] * 20})
    of_images = mean_of("x", nothing, [setting], "a", "sparseness", is_share=True)
    assert Within(of_images, below=0.1).sign() == 0  # none of twenty may be one of ten
    assert Within(mean_of("x", nothing, [setting], "a", "sparseness"), below=0.1).sign() == 1  # exactly 0


def test_fewer_than_six_images_that_differ_decide_nothing():
    gains = torch.zeros(48)
    gains[:5] = 1.0
    assert stats.binomtest(5, 5).pvalue > 0.05 > stats.binomtest(6, 6).pvalue
    assert combined("x", [gains]).low > 0
    assert combined("x", [gains]).sign() == 0
    gains[5] = 1.0
    assert combined("x", [gains]).sign() == 1
    assert combined("x", [-gains, -gains]).sign() == -1


def test_intervals_of_few_images_cover_what_they_should():
    values = drawn(600, 10)
    percentile = [bootstrap(10, lambda places, row=row: row[places].mean(1)) for row in values]
    found = [corrected_bootstrap(10, lambda places, row=row: row[places].mean(1), biased=False) for row in values]
    covered = [np.mean([low < 0 < high for low, high in ends]) for ends in (percentile, found)]
    assert covered[0] < 0.925
    assert 0.93 < covered[1] < 0.97


def test_a_deviation_of_images_that_are_drawn_again_is_not_biased():
    rows = drawn(200, 3, 12)  # three means of noise: what moves them is chance, and the images drawn again add to it

    def moved(row):
        return lambda places: row[:, places].mean(2).std(0)

    ends = {kind: [kind(12, moved(row)) for row in rows] for kind in (bootstrap, corrected_bootstrap)}
    truth = math.sqrt(1 / 12) * math.sqrt(math.pi) / 2  # the mean deviation of three such means
    high = {kind: np.mean([low > truth for low, _ in found]) for kind, found in ends.items()}
    assert high[bootstrap] > 2 * high[corrected_bootstrap]


def of(value, error=0.1, **settings):
    half = quantile(math.inf) * error
    return Contrast("x", value, value - half, value + half, 1, **settings)


def test_one_of_many_has_to_be_beyond_chance():
    # .21 is 2.1 errors away: enough by itself, not as one of ten (2.8)
    worse, equal, better = of(-0.21), of(0.0), of(0.21)
    assert [one.sign() for one in (worse, equal, better)] == [-1, 0, 1]
    assert outcome_of([worse]) == "contradicted"
    assert outcome_of([worse, *[equal] * 9]) == "undecided"
    assert outcome_of([of(-0.3), *[equal] * 9]) == "contradicted"
    assert outcome_of([better] * 10) == "supported"  # all have to hold: each may do so by itself
    assert outcome_of([better] * 5 + [equal] * 5, 0.5) == "undecided"  # any five of ten would do
    assert outcome_of([of(0.3)] * 5 + [equal] * 5, 0.5) == "supported"
    assert outcome_of([]) == "undecided"
    assert outcome_of([Exactly(holds=True), Exactly(holds=False)], 0.5) == "supported"
    nested = [AtLeast([worse, *[equal] * 9], 10), AtLeast([of(-0.3), *[equal] * 9], 10)]
    assert [one.sign() for one in nested] == [0, -1]
    assert outcome_of([nested[1], nested[0]]) == "undecided"  # .3 is one of twenty now


def test_a_claim_about_nothing_is_wrong_in_one_of_twenty_cases():
    cases = drawn(2000, 12)  # twelve comparisons of what is equal, in standard errors
    verdicts = [outcome_of([of(0.1 * float(one)) for one in case]) for case in cases[:400]]
    assert 0.02 < verdicts.count("contradicted") / 400 < 0.08
    alone = (cases < -quantile(math.inf)).any(1).double().mean()
    assert alone > 0.2  # what it was if each counted by itself


def test_wider_ends_are_those_of_the_distribution():
    one = combined("x", [drawn(20) + 1])
    ratio = stats.t.isf(0.0025, 19) / stats.t.isf(0.025, 19)
    below, above = one.value - one.low, one.high - one.value
    assert one.ends(10) == pytest.approx((one.value - ratio * below, one.value + ratio * above))
    several = combined("x", [torch.full((8,), value).double() for value in (0.1, 0.3, 0.2)])
    expected = stats.t.interval(0.995, 2, 0.2, stats.sem([0.1, 0.3, 0.2]))
    assert several.ends(10) == pytest.approx(expected)


def test_networks_of_one_training_count_once():
    def judged(num_trainings, epochs):
        networks, values = {}, {}
        for training, epoch in product(range(num_trainings), range(epochs)):
            name, scores = f"m{training}-e{epoch}", {"accuracy": 0.5 + 0.02 * training + 0.001 * epoch}
            values[name] = training + 0.1 * epoch
            networks[name] = Network(name, name, 0, scores, f"t{training}")
        return over_networks(Findings({}, networks), values, "x", "accuracy")

    assert judged(7, 1).outcome == "supported"
    assert "p = " in judged(7, 1).why
    assert judged(3, 4).outcome == "undecided"
    assert "12 networks, but of 3 trainings" in judged(3, 4).why
    assert judged(7, 3).outcome == "supported"
    assert "21 networks of 7 trainings" in judged(7, 3).why
