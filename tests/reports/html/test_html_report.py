from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from lightning_xai.metrics import FaithfulnessSkill
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.reports import HtmlReport, Maps, load_run, write_report
from lightning_xai.reports.html.charts import Curve, Mark, line_chart, scatter
from tests.callbacks._runs import loader, monitor, train
from tests.reports.html._saved import COUNT, GAINS, private, saved

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Elements of a page, and whether every one that opens closes in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.said = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(run, **settings):
    path = write_report(run, **settings)
    return Page(path.read_text(encoding="utf-8")), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def test_numbers_are_the_definition_computed_by_hand(tmp_path):
    _, numbers = written(saved(tmp_path))
    by_name = {(one["explainer"], one["name"]): one for one in numbers["scores"]}
    gain = by_name["saliency", "faithfulness_gain"]
    for told, row in zip(gain["epochs"], GAINS.double(), strict=True):
        assert told["value"] == pytest.approx(float(row.mean()), abs=1e-6)
        assert told["standard_error"] == pytest.approx(float(row.std() / COUNT**0.5), abs=1e-6)
    paired = (GAINS[2] - GAINS[0]).double()
    assert gain["change"]["value"] == pytest.approx(float(paired.mean()), abs=1e-6)
    assert gain["change"]["standard_error"] == pytest.approx(float(paired.std() / COUNT**0.5), abs=1e-6)
    pointing = by_name["grad_cam", "pointing_game"]
    assert (pointing["epochs"][0]["value"], pointing["epochs"][0]["undefined"]) == (pytest.approx(2 / 3), 1)
    assert numbers["cost"] == {"seconds": 6.0, "model_evaluations": 300, "explained_epochs": 3}


def test_what_to_read_first_is_made_from_the_numbers(tmp_path):
    _, numbers = written(saved(tmp_path))
    assert numbers["first"] == [
        "In epoch 2, the heatmaps of grad_cam say more about what the model looks at than random ones: faithfulness "
        "gain 0.40 ± 0.04 over 4 images.",
        "Between epochs 0 and 2, faithfulness_gain rose by more than chance, which is better (+0.40 ± 0.04, on the "
        "same images).",
        "val_acc went from 0.400 to 0.800 over the same epochs; too few epochs to say whether both move together.",
        "The hottest point lies on the annotated object in a share of 0.67 ± 0.33 of the images.",
    ]


@pytest.mark.parametrize(("reference", "said"), [(0.9, "0.50"), (0.2, "4.00")])
def test_a_skill_above_1_is_explained(tmp_path, reference, said):
    run = saved(tmp_path)
    scored = torch.tensor([[0.5, 0.1, reference]]).repeat(4, 1)  # heatmap, control, reference
    epochs = []
    for one in run.epochs:
        found = one.loaders[0]
        rows = {name: {**own, "faithfulness_skill": scored} for name, own in found.rows.items()}
        metrics = {**found.metrics, "faithfulness_skill": FaithfulnessSkill()}
        epochs.append(replace(one, loaders={0: replace(found, rows=rows, metrics=metrics)}))
    first = written(replace(run, epochs=epochs))[1]["first"][0]
    assert f"; that is {said} ± 0.00 of what a reference by occlusion reaches" in first
    assert ("1 is no ceiling" in first) is (reference < 0.5)


@pytest.mark.parametrize(("alarms", "said"), [((0, 1, 1), "is raised, first in epoch 1"), ((1, 0, 0), "was raised")])
def test_an_alarm_is_said_first(tmp_path, alarms, said):
    run = saved(tmp_path)
    epochs = [
        replace(one, estimates={**one.estimates, "xai/grad_cam/shortcut_alarm": Estimate(float(raised))})
        for one, raised in zip(run.epochs, alarms, strict=True)
    ]
    _, numbers = written(replace(run, epochs=epochs))
    assert numbers["first"][0].startswith(f"The shortcut alarm {said}")
    assert numbers["first"][1:] == written(run)[1]["first"]


def test_of_several_labels_the_one_that_an_image_stands_for_decides(tmp_path):
    run = saved(tmp_path)

    def marks(run):
        path = write_report(run)
        return path.read_text(encoding="utf-8").count("✗")

    assert marks(run) == 2  # image 2, of both explainers: its label is 1, and 0 is predicted
    last = run.epochs[-1]
    probabilities = torch.tensor([[0.9, 0.8], [0.6, 0.4], [0.9, 0.7], [0.1, 0.1]])
    several = {0: replace(last.loaders[0], probabilities=probabilities)}
    epochs = [*run.epochs[:-1], replace(last, task="multilabel", loaders=several)]
    assert marks(replace(run, epochs=epochs)) == 2  # image 1, whose own label has .4; image 2 has .7
    assert marks(private(replace(run, epochs=epochs))) == 0


def test_classes_and_groups_are_told_by_their_own_images(tmp_path):
    page, numbers = written(saved(tmp_path))
    rows = {(one["by"], one["name"]): one for one in numbers["parts"] if one["explainer"] == "grad_cam"}
    assert set(rows) == {
        *(("class", name) for name in ("cat & mouse", "dog")),
        *(("group", name) for name in ("north", "south")),
    }
    last = GAINS[2].double()
    for part, places in {("class", "dog"): [1, 2], ("group", "north"): [0, 1], ("group", "south"): [2, 3]}.items():
        own, told = last[places], rows[part]["values"]["faithfulness_gain"]
        assert rows[part]["images"] == 2
        assert told["value"] == pytest.approx(float(own.mean()), abs=1e-6)
        assert told["standard_error"] == pytest.approx(float(own.std() / 2**0.5), abs=1e-6)
    assert "north" in page.said


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([0.1, -0.1, 0.2, -0.2], "cannot be told from random ones"),
        ([-0.3, -0.4, -0.3, -0.4], "say less about what the model looks at"),
        ([0.3, 0.4, 0.3, 0.4], "say more about what the model looks at"),
    ],
)
def test_a_gain_is_judged_by_its_error(tmp_path, gains, said):
    _, numbers = written(saved(tmp_path, gains=torch.tensor(gains)))
    assert said in numbers["first"][0]
    assert "did not change by more than chance" in numbers["first"][1]


def test_the_page_is_whole_and_needs_nothing_else(tmp_path):
    page, _ = written(saved(tmp_path))
    assert not page.all("script")
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "style"):
            value = attributes.get(name, "")
            assert not value or value.startswith(("data:", "#")), (tag, value)
    text = (tmp_path / "xai_report.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text


def test_every_picture_has_a_text_and_every_reference_a_goal(tmp_path):
    page, _ = written(saved(tmp_path))
    assert len(page.all("img")) == 2 + 2 + 2 * COUNT  # strips, films, images of both explainers
    assert all(picture["alt"] for picture in page.all("img"))
    charts = page.all("svg")
    assert len(charts) == 3 + 4  # accuracy, gain, pointing game; and the two over accuracy, for both explainers
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    known = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    goals = {attributes["href"][1:] for attributes in page.all("a")}
    goals |= {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert goals <= known
    scrolled = [attributes for _, attributes in page.elements if attributes.get("class") == "scroll"]
    assert all(attributes["tabindex"] == "0" and attributes["role"] == "region" for attributes in scrolled)


def test_text_of_the_data_is_no_markup(tmp_path):
    page, _ = written(saved(tmp_path / "<script>"))
    assert not page.all("script")
    assert "a<b" in page.said
    assert "cat & mouse" in page.said


def test_a_private_run_tells_numbers_alone(tmp_path):
    page, numbers = written(private(saved(tmp_path)))
    assert not page.all("img")
    assert not any("scan" in said for said in page.said)
    assert numbers["first"] == written(saved(tmp_path / "other"))[1]["first"]
    assert len(page.all("svg")) == 7


def test_a_small_file_leaves_pictures_out_and_says_so(tmp_path, monkeypatch):
    from lightning_xai.reports.html import html_report

    run = saved(tmp_path)
    full = len((tmp_path / write_report(run)).read_bytes())
    for share, left_out, count in ((0.9, ["animated pictures"], 2 + 2 * COUNT), (0.5, None, None)):
        monkeypatch.setattr(html_report, "_MIB", int(full * share))
        page, _ = written(run, largest=1)
        assert len((tmp_path / "xai_report.html").read_bytes()) <= full * share
        said = [one for one in page.said if "Left out to keep this file small" in one]
        assert said
        if left_out is not None:
            assert [one.split(": ")[1].rstrip(".") for one in said] == left_out
            assert len(page.all("img")) == count


def test_one_epoch_and_several_loaders(tmp_path):
    page, numbers = written(saved(tmp_path, epochs=1, loaders=2))
    assert numbers["first"][1] == "val_acc is 0.400."
    assert {one["loader"] for one in numbers["scores"]} == {0, 1}
    assert all(one["change"] is None for one in numbers["scores"])
    assert len(page.all("img")) == 4 * COUNT


def test_what_a_report_asked_for_is_the_accuracy(tmp_path):
    _, numbers = written(saved(tmp_path, logged="val_auroc"))
    assert {one["accuracy"] for one in numbers["accuracy"]} == {"val_auroc"}


def test_the_probes_accuracy_stands_in(tmp_path):
    _, numbers = written(saved(tmp_path, logged=None))
    assert numbers["accuracy"][0]["accuracy"] == "xai/probe_accuracy"
    assert numbers["first"][2].startswith("xai/probe_accuracy went from 0.500 to 0.700")


def test_localization_is_no_accuracy(tmp_path):
    ours = monitor(metrics=["relevance_mass_accuracy"], reports=[Maps(), HtmlReport()])
    train([ours], val_loader=loader(10, seed=1, masks=True), default_root_dir=tmp_path)
    told = json.loads((tmp_path / "xai_report.json").read_text())
    assert {one["accuracy"] for one in told["accuracy"]} == {"xai/probe_accuracy"}


def test_without_an_epoch_or_room_there_is_no_report(tmp_path):
    with pytest.raises(ValueError, match="at least one explained epoch"):
        write_report(replace(saved(tmp_path), epochs=[]))
    with pytest.raises(ValueError, match="largest"):
        write_report(saved(tmp_path), largest=0)
    with pytest.raises(ValueError, match="largest"):
        HtmlReport(largest=0)


@pytest.mark.parametrize("reports", [[Maps(), HtmlReport()], [HtmlReport(), Maps()]])
def test_a_fit_and_a_test_leave_their_reports(tmp_path, reports):
    ours = monitor(reports=reports)
    run = train([ours], val_loader=loader(10, seed=1), default_root_dir=tmp_path)
    run.trainer.test(run.module, loader(10, seed=2), verbose=False)
    names = sorted(path.name for path in tmp_path.glob("xai_report*"))
    assert names == ["xai_report.html", "xai_report.json", "xai_report_test.html", "xai_report_test.json"]
    told = json.loads((tmp_path / "xai_report.json").read_text())
    gain = next(one for one in told["scores"] if one["name"] == "faithfulness_gain")
    assert [one["value"] for one in gain["epochs"]] == [
        pytest.approx(epoch["xai/faithfulness_gain"]) for epoch in ours.history if epoch.stage == "fit"
    ]
    again = write_report(tmp_path, tmp_path / "again.html")
    assert again.read_text() == (tmp_path / "xai_report.html").read_text()
    assert load_run(tmp_path).versions["torch"] == str(torch.__version__)


class TestCharts:
    def test_marks_stand_where_their_values_say(self):
        marks = [Mark(0, 0.0), Mark(1, 0.5), Mark(2, 1.0)]
        svg = line_chart([Curve("gain", marks)], "gain")
        points = re.search(r'polyline class="c0" points="([^"]+)"', svg)[1].split()
        xs, ys = zip(*(map(float, point.split(",")) for point in points), strict=True)
        assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
        assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2])
        assert ys[0] > ys[2]
        ticks = {float(text): float(y) - 4 for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">([-\d.]+)<', svg)}
        assert ticks[0.0] == pytest.approx(ys[0], abs=0.1)
        assert ticks[1.0] == pytest.approx(ys[2], abs=0.1)

    def test_a_band_is_one_error_wide(self):
        svg = line_chart([Curve("gain", [Mark(0, 0.5, 0.25), Mark(1, 0.5, 0.25)])], "gain")
        band = re.search(r'polygon class="band c0" points="([^"]+)"', svg)[1].split()
        ys = [float(point.split(",")[1]) for point in band]
        line = float(re.search(r'polyline class="c0" points="[\d.]+,([\d.]+)', svg)[1])
        ticks = {float(text): float(y) - 4 for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">([-\d.]+)<', svg)}
        low, high = min(ticks), max(ticks)
        per_unit = (ticks[low] - ticks[high]) / (high - low)
        assert line - ys[0] == pytest.approx(0.25 * per_unit, abs=0.2)
        assert ys[-1] - line == pytest.approx(0.25 * per_unit, abs=0.2)

    def test_words_say_the_first_and_the_last_value(self):
        svg = scatter(Curve("<gain>", [Mark(0.25, 0.1, 0.05), Mark(0.75, 0.4)]), "gain over acc", "acc", [0, 3])
        label = re.search(r'aria-label="([^"]+)"', svg)[1]
        assert label == "gain over acc. &lt;gain&gt;: 0.100 ± 0.050 at acc 0.25, 0.400 at acc 0.75."
        assert re.findall(r">(epoch \d+)<", svg) == ["epoch 0", "epoch 3"]

    def test_a_constant_has_room(self):
        assert "nan" not in line_chart([Curve("one", [Mark(3, 2.0)])], "one")
