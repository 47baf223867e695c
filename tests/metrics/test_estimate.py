"""Value, error and paired difference of rows, by hand and against a jackknife that is written naively."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.metrics import HAAS, Estimate, ExplanationMetric, Sufficiency, get_metric, list_metrics
from tests.metrics.faithfulness.test_sufficiency import without_each

NAN = math.nan


class Mean(ExplanationMetric):
    def score(self, case):
        return case.heatmaps.mean((1, 2))


class Median(Mean):
    """The value of one number per image need not be a mean."""

    def aggregate(self, rows):
        return rows.nanmedian()


def _jackknife(values):
    """Return the standard error of a value, given what it is without each image."""
    mean = sum(values) / len(values)
    return math.sqrt((len(values) - 1) / len(values) * sum((value - mean) ** 2 for value in values))


def _without(rows, i):
    return torch.cat([rows[:i], rows[i + 1 :]])


def _values_without_each(metric, rows):
    """Return the value without each image; that of `Sufficiency` with the standard deviations of all."""
    if isinstance(metric, Sufficiency):
        return without_each(rows, metric.threshold)
    return torch.stack([metric.aggregate(_without(rows, i)) for i in range(len(rows))])


def _haas_rows(count, seed):
    return (torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) < torch.tensor([0.6, 0.7])).float()


def _sufficiency_rows(count, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randn(count, 196, generator=random), torch.arange(count)[:, None] % 2.0], 1)


CASES = {
    "mean": (Mean(), lambda seed: torch.randn(9, generator=torch.Generator().manual_seed(seed))),
    "median": (Median(), lambda seed: torch.randn(9, generator=torch.Generator().manual_seed(seed))),
    "ratio": (HAAS(), lambda seed: _haas_rows(20, seed)),
    "neighbours": (Sufficiency(threshold=1.5), lambda seed: _sufficiency_rows(12, seed)),
}
every_case = pytest.mark.parametrize(("metric", "rows_of"), CASES.values(), ids=list(CASES))


@every_case
def test_estimate_is_value_and_jackknife_of_defined_images(metric, rows_of):
    rows = rows_of(0)
    estimate = metric.estimate(torch.cat([rows[:3], torch.full_like(rows[:2], NAN), rows[3:]]))
    assert estimate.value == pytest.approx(float(metric.aggregate(rows)))
    expected = _jackknife(_values_without_each(metric, rows).tolist())
    assert estimate.error == pytest.approx(expected, rel=1e-4)
    assert expected > 0
    assert estimate.undefined == 2


@every_case
def test_difference_pairs_images_and_leaves_out_what_is_undefined_in_either(metric, rows_of):
    first, second = rows_of(1), rows_of(2)
    gaps = (_values_without_each(metric, first) - _values_without_each(metric, second)).tolist()
    undefined = torch.full_like(first[:1], NAN)
    difference = metric.difference(torch.cat([first, undefined, first[:1]]), torch.cat([second, second[:1], undefined]))
    assert difference.value == pytest.approx(float(metric.aggregate(first) - metric.aggregate(second)), abs=1e-6)
    assert difference.error == pytest.approx(_jackknife(gaps), rel=1e-4)
    assert difference.undefined == 2
    assert metric.difference(first, first) == Estimate(0.0, 0.0)


def test_a_difference_of_means_by_hand():
    # differences 1, 1 and 4: mean 2, standard deviation √3, over √3
    difference = Mean().difference(torch.tensor([2.0, 3.0, 9.0, NAN]), torch.tensor([1.0, 2.0, 5.0, 0.0]))
    assert (difference.value, difference.undefined) == (pytest.approx(2.0), 1)
    assert difference.error == pytest.approx(1.0)


def test_a_difference_of_ratios_by_hand():
    first, second = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    difference = HAAS().difference(first, second)  # 1/2 - 1; without the first image 0 - 1, without the second 1 - 1
    assert difference.value == -0.5
    assert difference.error == pytest.approx(0.5)


@pytest.mark.parametrize("metric", [metric for metric, _ in CASES.values()], ids=list(CASES))
def test_no_image_and_one_image(metric):
    one = torch.ones(1) if isinstance(metric, Mean) else torch.ones(1, 197 if isinstance(metric, Sufficiency) else 2)
    for nothing in (one[:0], torch.full_like(one, NAN)):
        assert math.isnan(metric.estimate(nothing).value)
        assert math.isnan(metric.estimate(nothing).error)
        assert math.isnan(metric.difference(nothing, nothing).value)
    assert math.isnan(metric.estimate(one).error)
    assert math.isnan(metric.difference(one, one).error)


@pytest.mark.parametrize("alias", list_metrics())
def test_all_errors_come_from_one_place(alias):
    assert type(get_metric(alias)).error is ExplanationMetric.error
    assert type(get_metric(alias)).standard_error is ExplanationMetric.standard_error


def test_an_estimate_reads_like_a_measurement():
    assert str(Estimate(0.41249, 0.0306)) == "0.412 ± 0.031"
    assert str(Estimate(0.41249)) == "0.412"
