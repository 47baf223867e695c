"""The study of Expected Grad-CAM: its printed numbers, and where saturation begins, by hand."""

import pytest
import torch

from lightning_xai.comparison import Records
from lightning_xai.studies import Findings, Study, TrainedNetworks
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.expected_grad_cam.saturation import (
    draw_saturation,
    first_kept,
    saturates_early,
    saturation_curves,
)
from lightning_xai.studies.part import Part
from lightning_xai.studies.training.recipe import Recipe
from tests.studies._made import data


@pytest.fixture(scope="module")
def printed():
    return Study.load("expected_grad_cam").printed


def test_insertion_minus_deletion_is_what_it_says(printed):
    """All of table 3 but rounding."""
    found = printed["table_3"]
    for row, column in [place for place in found if place[1].endswith("Ins.")]:
        network = column.partition(" · ")[0]
        difference = found[row, column].value - found[row, f"{network} · Del."].value
        assert found[row, f"{network} · Ins-Del."].value == pytest.approx(difference, abs=0.0151)


def test_mass_is_localization_by_construction(printed):
    """The paper says so of its tables 4 and 5."""
    for (row, column), one in printed["table_5"].items():
        other = printed["table_4"][row, column.replace("RM-A", "A.L.")].value
        assert one.value == pytest.approx(other, abs=0.0061)


def test_lines_are_those_of_the_paper(printed):
    assert printed["table_1"]["Expected Grad-CAM", "Inf."].value == 4.99
    assert printed["table_1"]["Expected Grad-CAM", "Inf."].line == 245
    assert printed["table_8"]["Score-CAM", "R.T."].value == 0.261
    assert printed["table_6"]["HiRes-CAM", "VGG16 · RIS"].value != printed["table_6"]["HiRes-CAM", "VGG16 · RIS"].value
    assert sum(map(len, printed.values())) == 370


def test_a_curve_that_falls_again_has_not_reached_it():
    curves = torch.tensor([[0.95, 0.5, 0.9, 1.0], [0.9, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    assert first_kept(curves, torch.tensor([0.25, 0.5, 0.75, 1.0])).tolist() == [0.75, 0.25, 1.0]


def test_saturation_of_a_linear_network(tmp_path):
    """Activations of a convolution without bias point one way at every α."""
    network = {"class_path": "tests.studies.test_expected_grad_cam.linear_network"}
    part = Part("p", {"bright": data(6)}, {}, {}, recipes={"net": Recipe(network)})
    kept = TrainedNetworks(tmp_path)
    kept.prepare({one.name: one.recipe for one in part.trained()})
    context = AnalysisContext(kept, {}, {"p": part}, Findings({}))
    found = saturation_curves(context, ["p"], num_images=6, num_steps=4)
    cosines = [row["mean"] for row in found if row["what"] == "cosine"]
    assert cosines == pytest.approx([1.0] * 4, abs=1e-6)
    shares = [row["mean"] for row in found if row["what"] == "probability"]
    assert len(shares) == 4
    assert shares[-1] == pytest.approx(1.0)
    (reached,) = [row for row in found if row["what"].startswith("cosine:")]
    assert (reached["mean"], reached["alpha"]) == (0.25, None)
    figure = draw_saturation(Findings({}, analyses={"s": found}), "s")
    assert [line.get_label() for line in figure.axes[0].lines] == ["net"]


def linear_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1, bias=False), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )


@pytest.mark.parametrize(
    ("mean", "error", "outcome"), [(0.3, 0.05, "supported"), (0.45, 0.05, "undecided"), (0.7, 0.05, "contradicted")]
)
def test_early_is_before_half_way(mean, error, outcome):
    rows = (("n", "cosine", 0.5, 1.0, 0.0), ("n", "cosine: reached", None, mean, error))
    records = Records(("network", "what", "alpha", "mean", "deviation"), rows)
    assert saturates_early(Findings({}, analyses={"s": records}), "s").outcome == outcome
