from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import sparseness
from tests.metrics._harness import Entry, close


def gini(heat: np.ndarray) -> float:
    """Return half the mean absolute difference of all pairs over the mean."""
    heat = np.abs(heat).ravel()
    if heat.sum() == 0:
        return math.nan
    return float(np.abs(heat[:, None] - heat[None, :]).mean() / (2 * heat.mean()))


def _reference(view):
    return gini(view.heat)


ENTRY = Entry("sparseness", ("heatmaps",), _reference)


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 0.0, 5.0, 0.0], 0.75),
        ([2.0, 2.0, 2.0, 2.0], 0.0),
        ([-3.0, -3.0, -3.0, 3.0], 0.0),
        ([1.0, 3.0, 0.0, 0.0], ((-3) * 0 + (-1) * 0 + 1 * 1 + 3 * 3) / (4 * 4)),
        ([0.0, 0.0, 0.0, 0.0], math.nan),
    ],
)
def test_by_hand(heatmap, value):
    assert sparseness(torch.tensor([[heatmap]])).item() == pytest.approx(value, abs=1e-6, nan_ok=True)


def test_equals_all_pairs_at_larger_size():
    heatmaps = torch.randn(3, 40, 30)
    close(sparseness(heatmaps), torch.tensor([gini(heatmap.double().numpy()) for heatmap in heatmaps]))


@pytest.mark.parametrize("side", [3, 7, 56, 224])
@pytest.mark.parametrize("value", [0.1, 0.3, 1.0])
def test_constant_maps_are_zero_and_never_below(side, value):
    found = sparseness(torch.full((1, side, side), value)).item()
    assert 0.0 <= found < 1e-6
