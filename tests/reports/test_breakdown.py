"""What is shown of classes and groups: which rows, in which picture and table, and when nothing is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lightning_xai.metrics import InsertionDeletion, Sparseness
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.breakdown import Part
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.reports import Breakdown, breakdown
from lightning_xai.reports.report import Run
from lightning_xai.visualization.breakdown import plot_breakdown

SITES = ("north", "south", "south", "", "10", "north", "9", "9")


def known(groups=SITES):
    dice = torch.Generator().manual_seed(1)
    rows = torch.rand(3, 8, generator=dice)
    return Explained(
        keys=torch.arange(8),
        labels=torch.tensor([1, 0, 1, -1, 0, 0, 1, 0]),
        target=torch.zeros(8, dtype=torch.int64),
        predicted=torch.tensor([1, 1, 1, 0, 0, 0, 1, 1]),
        probabilities=torch.rand(8, 2, generator=dice),
        rows={"grad_cam": {"faithfulness": rows[0], "sparseness": rows[1]}},
        control_rows={"faithfulness": rows[2]},
        metrics={"faithfulness": InsertionDeletion(), "sparseness": Sparseness()},
        groups=groups,
    )


@pytest.fixture
def told(monkeypatch):
    """What reaches loggers: pictures as rows, and tables."""
    seen = {"pictures": {}, "tables": {}}

    def draw(trainer, name, picture, **settings):
        seen["pictures"][name] = (picture, settings)

    def tabulate(trainer, name, columns, rows, moment):
        seen["tables"][name] = (columns, rows, moment)

    monkeypatch.setattr(breakdown, "log_picture", draw)
    monkeypatch.setattr(breakdown, "log_table", tabulate)
    return seen


def publish(found, told, *names, explainers=("grad_cam",), several=False, **settings):
    keys = Keys(Plan(list(explainers), ["insertion_deletion", "sparseness"]), "xai", 8, names)
    epoch = ExplainedEpoch(3, 30, "fit", {}, {0: found})
    data = SimpleNamespace(dataset=SimpleNamespace(classes=("cat", "dog")))
    trainer = SimpleNamespace(loggers=[], val_dataloaders=data, lightning_module=None)
    run = Run(trainer, "nowhere", keys, [epoch], {}, {}, several)
    report = Breakdown(**settings)
    report.check_keys(keys)
    report.publish(epoch, run)
    return told


def test_the_table_holds_values_and_accuracies(told):
    found = known()
    publish(found, told, "faithfulness_gain")
    columns, rows, moment = told["tables"]["xai/breakdown_table"]
    assert columns == ("epoch", "by", "name", "metric", "value", "error", "images", "undefined")
    assert moment == (3, 30)
    table = {tuple(row[1:4]): row[4:] for row in rows}
    assert {row[3] for row in rows} == {"probe_accuracy", "faithfulness_gain"}
    gains = found.by_class("faithfulness_gain") | found.by_group("faithfulness_gain")
    for name, one in gains.items():
        shown = ("class", ("cat", "dog")[name]) if isinstance(name, int) else ("group", name)
        value, error, _, undefined = table[(*shown, "faithfulness_gain")]
        assert value == one.value
        assert error == pytest.approx(one.error, nan_ok=True)
        assert undefined == one.undefined
    assert table["class", "cat", "probe_accuracy"][0] == pytest.approx(2 / 4)
    assert table["class", "dog", "probe_accuracy"][0] == 1.0
    assert table["group", "south", "probe_accuracy"][0] == 0.5
    assert table["all", "all", "probe_accuracy"][0] == pytest.approx(5 / 7)
    assert table["group", "9", "faithfulness_gain"][2] == 2
    groups = [row[2] for row in rows if row[1] == "group" and row[3] == "probe_accuracy"]
    assert groups == ["9", "10", "north", "south"]


@pytest.mark.parametrize(
    ("settings", "names", "metrics"),
    [
        ({}, ["sparseness"], {"sparseness"}),
        ({}, [], {"faithfulness_gain"}),
        ({"metrics": "faithfulness"}, ["sparseness"], {"faithfulness"}),
        ({"metrics": ["faithfulness", "sparseness"]}, [], {"faithfulness", "sparseness"}),
    ],
)
def test_which_metrics(settings, names, metrics, told):
    _, rows, _ = publish(known(), told, *names, **settings)["tables"]["xai/breakdown_table"]
    assert {row[3] for row in rows} == {"probe_accuracy", *metrics}


def test_nothing_without_groups_and_names(told):
    assert publish(known(None), told) == {"pictures": {}, "tables": {}}
    _, rows, _ = publish(known(None), told, "sparseness")["tables"]["xai/breakdown_table"]
    assert {row[1] for row in rows} == {"all", "class"}


def test_names_say_explainer_and_loader(told):
    found = known()
    both = replace(found, rows={"grad_cam": found.rows["grad_cam"], "layer_cam": found.rows["grad_cam"]})
    pictures = publish(both, told, explainers=("grad_cam", "layer_cam"), several=True)["pictures"]
    assert set(pictures) == {f"xai/{name}/breakdown/dataloader_idx_0" for name in both.rows}
    picture, settings = pictures["xai/grad_cam/breakdown/dataloader_idx_0"]
    assert picture.dtype == torch.uint8
    assert settings["moment"] == (3, 30)


def test_a_metric_that_is_not_scored_is_said_before_anything_runs(told):
    with pytest.raises(ValueError, match=r"Expected `metrics` to be one of .*, but got 'road'"):
        publish(known(), told, metrics="road")


class TestFigure:
    def rows(self, count=3):
        whole = [Part("all", "all", metric, Estimate(0.5, 0.1), 9) for metric in ("a", "b")]
        groups = [
            Part("group", f"site {i}", metric, Estimate(value / 10, 0.01 * i), i)
            for metric, values in (("a", range(count)), ("b", range(count, 0, -1)))
            for i, value in enumerate(values, start=1)
        ]
        return [*whole, *groups, Part("class", "cat", "a", Estimate(0.2), 4)]

    def test_points_stand_where_the_values_are(self):
        figure = plot_breakdown(self.rows(), "epoch 3")
        of_class, _, first, second = figure.axes
        assert [axes.get_title() for axes in figure.axes[:2]] == ["a", "b"]
        for axes, values in ((first, [0.0, 0.1, 0.2]), (second, [0.3, 0.2, 0.1])):
            points = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
            assert [point.tolist() for point in points] == [[x, y] for y, x in enumerate(values)]
            (dashed,) = (line for line in axes.lines if line.get_linestyle() == "--")
            assert set(dashed.get_xdata()) == {0.5}
        assert [label.get_text() for label in of_class.get_yticklabels()] == ["cat (4)"]
        assert first.get_ylim()[0] > first.get_ylim()[1]  # the first name above

    def test_of_many_those_far_from_all_are_drawn(self):
        figure = plot_breakdown(self.rows(60))
        first = figure.axes[2]
        names = [label.get_text() for label in first.get_yticklabels()]
        assert len(names) == 24
        assert names[-1] == "site 24 (24)"  # 3.7 of b, the farthest from 0.5 are the first ones
        assert names == [f"site {i} ({i})" for i in range(1, 25)]

    def test_nothing_to_draw_is_said(self):
        with pytest.raises(ValueError, match="Expected `rows` to hold a class or a group"):
            plot_breakdown([Part("all", "all", "a", Estimate(0.5), 3)])
