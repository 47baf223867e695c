from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torchmetrics.classification import MulticlassAccuracy

from lightning_xai.evidence import Case
from lightning_xai.metrics import ROAD, ExplanationMetric, MetricSuite, Monotonicity


class Heat(ExplanationMetric):
    """How hot is it?"""

    higher_is_better = True
    range = (0.0, 1.0)

    def score(self, case: Case) -> torch.Tensor:
        return case.heatmaps.mean((1, 2))


class Steps(Heat):
    """How many steps does it take?"""

    higher_is_better = False
    range = (0.0, math.inf)


class Change(Heat):
    """Did it change?"""

    higher_is_better = None
    range = (-1.0, 1.0)


MAPS = torch.tensor([0.2, 0.4, 0.9])[:, None, None].expand(3, 2, 2)  # mean 0.5, standard error √(0.13 / 3)
EPOCHS = [{"heat": 0.1 * k, "steps": torch.tensor(3.0 * k), "change": torch.tensor([-0.1 * k])} for k in range(4)]


def updated(metric):
    metric.update(heatmaps=MAPS)
    return metric


def suite():
    return updated(MetricSuite([Heat(), Steps(), Change()]))


def line(axes, index=0):
    return [round(float(y), 6) for y in axes.get_lines()[index].get_ydata()]


@pytest.fixture(autouse=True)
def _pyplot_is_left_alone():
    from matplotlib import pyplot as plt

    yield
    assert plt.get_fignums() == []


def test_the_computed_value_has_its_standard_error():
    figure, axes = updated(Heat()).plot()
    assert isinstance(figure, Figure)
    assert axes.figure is figure
    assert line(axes) == [0.5]
    (bar,) = axes.containers[0].lines[2][0].get_segments()
    assert bar[:, 1].tolist() == pytest.approx([0.5 - math.sqrt(0.13 / 3), 0.5 + math.sqrt(0.13 / 3)], abs=1e-6)
    assert axes.get_ylabel() == "heat ↑"
    assert axes.get_title() == "How hot is it?"


def test_one_image_has_no_error_bar():
    metric = Heat()
    metric.update(heatmaps=MAPS[:1])
    assert metric.plot()[1].containers[0].has_yerr is False


@pytest.mark.parametrize("value", [0.25, torch.tensor(0.25), torch.tensor([0.25])[0]])
def test_one_given_value_is_a_point(value):
    _, axes = Heat().plot(value)
    assert line(axes) == [0.25]
    assert [text.get_text() for text in axes.texts] == ["0.25", "best "]


@pytest.mark.parametrize(
    "values", [[0.1, 0.7, 0.3], torch.tensor([0.1, 0.7, 0.3]), [torch.tensor(0.1), torch.tensor([0.7]), 0.3]]
)
def test_values_over_epochs_are_a_line(values):
    _, axes = Heat().plot(values)
    assert line(axes) == [0.1, 0.7, 0.3]
    assert axes.get_lines()[0].get_xdata().tolist() == [0, 1, 2]
    assert axes.get_xlabel() == "step"
    assert axes.get_legend() is None


def test_means_per_class_and_their_lines():
    metric = Heat()
    metric.update(heatmaps=MAPS, images=torch.zeros(3, 1, 2, 2), target=torch.tensor([0, 2, 2]))
    _, axes = metric.plot(metric.per_class())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2"]
    assert (line(axes, 0), line(axes, 1)) == ([0.2], [0.65])
    _, axes = metric.plot([{0: 0.1, 2: 0.2}, {0: 0.3, 2: 0.4}])
    assert (line(axes, 0), line(axes, 1)) == ([0.1, 0.3], [0.2, 0.4])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0", "2"]


def test_undefined_values_are_said_or_leave_a_gap():
    _, axes = Heat().plot(math.nan)
    assert axes.texts[0].get_text() == "undefined"
    figure, axes = Heat().plot([0.1, math.nan, 0.3])
    figure.canvas.draw()
    assert math.isnan(axes.get_lines()[0].get_ydata()[1])


@pytest.mark.parametrize(
    ("metric", "ends", "best"), [(Heat(), {0.0, 1.0}, 1.0), (Steps(), {0.0}, 0.0), (Change(), {-1.0, 1.0}, None)]
)
def test_the_ends_of_the_range_and_the_best_value_are_shown(metric, ends, best):
    _, axes = metric.plot([0.4, 0.5])
    dashed = {x.get_ydata()[0]: x.get_color() for x in axes.get_lines() if x.get_linestyle() == "--"}
    assert set(dashed) == ends
    assert [text.xy[1] for text in axes.texts] == ([] if best is None else [best])
    assert len(set(dashed.values())) == (2 if len(ends) == 2 and best is not None else 1)
    bottom, top = axes.get_ylim()
    assert bottom < min(ends)
    assert top > max(ends)


def test_given_axes_are_drawn_into():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert Heat().plot([0.1, 0.2], right) == (figure, right)
    assert left.get_lines()[:] == []
    assert line(right) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], r"Expected `val` to hold at least one value, but it is empty\."),
        ([torch.ones(2)], r"Expected `val` to hold one number per metric and step, but got 2 at once\."),
        ([{0: 1.0}, {1: 1.0}], r"Expected every step of `val` to have the names \[0\], but got \[1\]\."),
    ],
)
def test_what_is_no_value_is_refused(values, text):
    with pytest.raises(ValueError, match=text):
        Heat().plot(values)


def test_a_suite_draws_each_metric():
    found = suite().plot()
    assert [(line(axes), axes.get_ylabel()) for _, axes in found] == [
        ([0.5], "change"),
        ([0.5], "heat ↑"),
        ([0.5], "steps ↓"),
    ]
    assert len({id(figure) for figure, _ in found}) == 3
    over_epochs = suite().plot(EPOCHS)
    assert [line(axes) for _, axes in over_epochs] == [
        [0.0, -0.1, -0.2, -0.3],
        [0.0, 0.1, 0.2, 0.3],
        [0.0, 3.0, 6.0, 9.0],
    ]


def test_a_suite_draws_into_given_axes_also_into_an_array_of_them():
    figure = Figure()
    for axes in (figure.subplots(1, 3), list(Figure().subplots(3))):
        assert [found for _, found in suite().plot(EPOCHS, axes)] == list(axes)
    text = r"Expected `ax` to hold one axes per metric, 3, but got 1; `together=True` draws all metrics into one\."
    with pytest.raises(ValueError, match=text):
        suite().plot(EPOCHS, Figure().subplots())


def test_together_has_one_panel_per_scale():
    figure, axes = suite().plot(EPOCHS, together=True)
    assert [[text.get_text() for text in panel.get_legend().get_texts()] for panel in axes] == [
        ["change", "heat ↑"],
        ["steps ↓"],
    ]
    assert all(panel.figure is figure for panel in axes)
    assert line(axes[0], 1) == [0.0, 0.1, 0.2, 0.3]
    assert line(axes[1]) == [0.0, 3.0, 6.0, 9.0]
    assert [panel.get_xlabel() for panel in axes] == ["", "step"]
    assert not [text for text in axes[0].texts if "best" in text.get_text()]  # its metrics do not agree
    assert [text.get_text() for text in axes[1].texts] == ["best "]


def test_together_computes_with_errors_and_names():
    _, axes = suite().plot(together=True)
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["change", "heat ↑"]
    assert axes[0].containers[1].has_yerr


def test_together_in_given_axes_and_of_one_scale():
    axes = Figure().subplots()
    assert suite().plot(EPOCHS, axes, together=True) == (axes.figure, axes)
    assert len(axes.get_lines()) == 3
    _, alone = updated(MetricSuite([Heat()])).plot(together=True)
    assert alone.get_xticklabels()[0].get_text() == "heat ↑"


def test_names_are_those_of_the_suite():
    named = MetricSuite({"a": Heat(), "b": Heat()}, prefix="val_")
    named.update(heatmaps=MAPS)
    assert [axes.get_ylabel() for _, axes in named.plot(named.compute())] == ["val_a ↑", "val_b ↑"]
    text = r"Expected `val` to hold a value of 'val_b', but got val_a\."
    with pytest.raises(ValueError, match=text):
        named.plot({"val_a": 1.0})


@pytest.mark.parametrize("together", [False, True])
def test_metrics_of_torchmetrics_are_drawn_too(together):
    mixed = MetricSuite([Heat(), MulticlassAccuracy(3, average="micro")])
    mixed.update(heatmaps=MAPS, preds=torch.eye(3), target=torch.tensor([0, 1, 1]))
    found = mixed.plot(together=together)
    axes = found[1] if together else found[0][1]
    assert round(float(axes.get_lines()[0].get_ydata()[0]), 4) == 0.6667
    assert axes.get_ylabel() == ("" if together else "MulticlassAccuracy ↑")


def test_what_is_no_single_number_is_refused():
    mixed = MetricSuite([Heat(), MulticlassAccuracy(3, average=None)])
    mixed.update(heatmaps=MAPS, preds=torch.eye(3), target=torch.arange(3))
    for given in (None, mixed.compute()):
        with pytest.raises(ValueError, match=r"MulticlassAccuracy to have one number, but got 3"):
            mixed.plot(given, together=True)


def test_numbers_of_numpy_are_numbers():
    _, axes = updated(Heat()).plot(np.float32(0.3))
    assert line(axes) == [0.3]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (Monotonicity(), (0.0, 1.0)),
        (Monotonicity(correlation=True), (-1.0, 1.0)),
        (ROAD(), (0.0, 1.0)),
        (ROAD(order="combined"), (-0.5, 0.5)),
    ],
    ids=str,
)
def test_the_range_is_that_of_the_settings(metric, expected):
    _, axes = metric.plot(0.25)
    low, high = axes.get_ylim()
    margin = 0.08 * (expected[1] - expected[0])
    assert metric.range == expected
    assert (low, high) == pytest.approx((expected[0] - margin, expected[1] + margin))
