from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lightning_xai.evidence import Case
from lightning_xai.functional import explainer_agreement
from lightning_xai.metrics import MetricSuite
from tests.metrics._harness import Batch, Entry, tiny_net
from tests.metrics.randomization._explainers import is_degenerate


def _reference(view):
    others = [maps[0].double().numpy() for maps in view.batch.other_heatmaps.values()]
    pairs = [(view.heat, other) for other in others if not is_degenerate(view.heat) and not is_degenerate(other)]
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs])) if pairs else math.nan


ENTRY = Entry("explainer_agreement", ("heatmaps", "other_heatmaps"), _reference)

UP, DOWN, BENT, FLAT = ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("heatmap", "others", "value"),
    [
        (UP, [UP], 1.0),
        (UP, [DOWN], -1.0),
        (UP, [UP, BENT], 0.75),
        (UP, [UP, DOWN, BENT], 0.5 / 3),
        (UP, [BENT, FLAT], 0.5),  # a constant map is left out
        (UP, [FLAT], math.nan),
        (FLAT, [UP], math.nan),
    ],
)
def test_by_hand(heatmap, others, value):
    others = {str(i): torch.tensor([[other]]) for i, other in enumerate(others)}
    found = explainer_agreement(torch.tensor([[heatmap]]), others)
    assert found.item() == pytest.approx(value, nan_ok=True, abs=1e-6)


def test_through_a_suite_and_a_case():
    batch = Batch.draw(4)
    expected = explainer_agreement(batch.heatmaps, batch.other_heatmaps)
    suite = MetricSuite(["explainer_agreement"])
    suite.update(heatmaps=batch.heatmaps, other_heatmaps=batch.other_heatmaps)
    assert suite.compute()["explainer_agreement"].item() == pytest.approx(expected.nanmean().item())
    case = Case(tiny_net(), batch.images).with_heatmaps(batch.heatmaps, other_heatmaps=batch.other_heatmaps)
    torch.testing.assert_close(suite.score(case)["explainer_agreement"], expected, rtol=0, atol=0, equal_nan=True)
    assert list(case.other_heatmaps) == ["first", "second", "blank"]


HEAT = torch.rand(2, 1, 3)


@pytest.mark.parametrize(
    ("others", "error", "text"),
    [
        (HEAT, TypeError, "Expected `other_heatmaps` to map names to heatmaps, but got Tensor"),
        (
            {},
            ValueError,
            "Expected `other_heatmaps` to hold the heatmaps of at least one other explainer, but got none",
        ),
        ({"a": 3}, TypeError, r"Expected `other_heatmaps\['a'\]` to be a Tensor of shape \(N, H, W\), but got int"),
        ({"a": HEAT, "b": HEAT[:1]}, ValueError, r"Expected `other_heatmaps\['b'\]` to have shape \(2, 1, 3\)"),
        ({"a": HEAT * math.nan}, ValueError, r"Expected `other_heatmaps\['a'\]` to be finite, but 2 of 2"),
    ],
)
def test_other_heatmaps_are_checked(others, error, text):
    with pytest.raises(error, match=text):
        explainer_agreement(HEAT, others)
    with pytest.raises(error, match=text):
        Case(heatmaps=HEAT, other_heatmaps=others)


def test_a_case_without_others_names_them():
    with pytest.raises(ValueError, match="Expected `other_heatmaps` to be given, because a metric reads it"):
        _ = Case(heatmaps=HEAT).other_heatmaps
