"""A value that is too large for float32 is undefined, and counted; it is neither logged as infinite nor lost."""

import math

import pytest
import torch
from torch import nn

from lightning_xai import Case, ExplanationMetric, functional
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics import Completeness, Infidelity, LocalLipschitz, MaxSensitivity, MetricSuite
from lightning_xai.probing.explained import Explained
from lightning_xai.probing.keys import metric_values
from tests.metrics._harness import Batch, Squares, entries, tiny_net

SMALL, LARGE = 1e-42, 1e38


class Peak(ExplanationMetric):
    """The square of the greatest heat: too large for float32 from 1.8e19 on."""

    def score(self, case: Case) -> torch.Tensor:
        return case.heatmaps.amax((1, 2)).square()


class SmallWhenClean(Explainer):
    """Explain images whose first value is 1 by almost nothing, others by ones."""

    evaluations = 0

    def explain(self, classifier, images, target):
        clean = images[:, 0, :1, :1] == 1.0
        return torch.where(clean, SMALL, 1.0).expand(-1, *images.shape[2:])


def nearly_nothing(**settings):
    """Return what the robustness of a map near 1e-42 is given: its neighbours' maps are 1."""
    images = torch.linspace(1.0, 2.0, 12).view(1, 1, 3, 4).repeat(2, 1, 1, 1)
    images[1] += 0.5
    return {"model": nn.Flatten(), "images": images, "explainer": SmallWhenClean(), "target": 0, **settings}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_sensitivity", [math.nan, 0.0]),
        ("avg_sensitivity", [math.nan, 0.0]),
        ("local_lipschitz", [math.nan, 0.0]),
        ("relative_input_stability", [math.nan, 0.0]),
        ("relative_output_stability", [math.nan, 0.0]),
    ],
)
def test_the_change_of_almost_nothing(name, expected):
    found = getattr(functional, name)(**nearly_nothing())
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


@pytest.mark.parametrize("metric", [MaxSensitivity(), LocalLipschitz()], ids=repr)
def test_it_is_counted_and_left_out(metric):
    metric.update(**nearly_nothing())
    assert (metric.undefined, metric.compute().item()) == (1, 0.0)
    suite = MetricSuite([type(metric)()])
    (rows,) = suite.score(Case(**nearly_nothing())).values()
    assert rows.isnan().tolist() == [True, False]


def test_squares_of_large_heat():
    batch, net = Batch.draw(3), tiny_net()
    given = {"model": net, "images": batch.images, "target": batch.target}
    for heatmaps, undefined in ((batch.heatmaps, 0), (batch.heatmaps.mul(LARGE / 20), 3)):
        metric = Infidelity(num_samples=4)
        metric.update(heatmaps=heatmaps, **given)
        assert metric.undefined == undefined
    metric = Completeness(relative=True)
    metric.update(heatmaps=torch.full_like(batch.heatmaps, LARGE), explainer=Squares(), **given)
    assert (metric.undefined, metric.compute().isnan().item()) == (3, True)


def test_a_metric_of_ones_own():
    metric = Peak()
    metric.update(heatmaps=torch.tensor([[[3.0]], [[1e30]], [[-2.0]]]))
    assert (metric.compute().item(), metric.undefined) == (6.5, 1)
    assert metric.standard_error().item() == pytest.approx(2.5)


def test_the_mean_of_values_whose_sum_is_too_large():
    metric = Peak()
    metric.update(heatmaps=torch.full((8, 1, 1), 1.5e19))
    assert metric.compute().item() == pytest.approx(2.25e38)
    assert metric.estimate(metric.rows).value == pytest.approx(2.25e38)
    assert metric.standard_error().item() == pytest.approx(0.0, abs=1e25)


def test_what_the_monitor_counts():
    rows = Peak().scored(Case(heatmaps=torch.tensor([[[3.0]], [[1e30]]])))
    none = torch.zeros(2, dtype=torch.int64)
    found = Explained(none, none, none, none, torch.zeros(2, 0), {"mine": {"peak": rows}}, {}, {"peak": Peak()})
    values = {name: estimate.value for name, estimate in metric_values(found, "mine").items()}
    assert values == {"peak": 9.0, "undefined/peak": 1.0}


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.repeatable], ids=str)
@pytest.mark.parametrize("unit", [SMALL, LARGE / 20])
def test_no_metric_is_infinite(entry, unit):
    batch, net = Batch.draw(4), tiny_net()
    metric = entry.updated(batch.with_heatmaps(unit * batch.heatmaps), net)
    assert not metric.rows.isinf().any()
    assert not math.isinf(metric.compute())
    assert len(metric.rows) == 4
