from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import effective_complexity
from lightning_xai.metrics import EffectiveComplexity
from tests.metrics._harness import Entry


def _reference(view, threshold=1e-5):
    peak = np.abs(view.heat).max()
    return float(sum(abs(heat) > threshold * peak for heat in view.heat.flat)) if peak > 0 else math.nan


ENTRY = Entry(
    "effective_complexity",
    ("heatmaps",),
    _reference,
    variants=({"threshold": 0.5}, {"threshold": 0.1}, {"threshold": 0}),
)


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 0.0, 5.0, 0.0], 1.0),
        ([2.0, 2.0, 2.0, 2.0], 4.0),
        ([-2.0, 1.0, 0.0, 0.0], 2.0),
        ([1.0, 2e-5, 0.9e-5, 0.0], 2.0),
        ([1e-20, 2e-25, 0.9e-25, 0.0], 2.0),  # a share of the maximum, whatever the scale
        ([-1.0, -1.0, -1.0, 0.0], 3.0),
        ([0.0, 0.0, 0.0, 0.0], math.nan),
    ],
)
def test_by_hand(heatmap, value):
    assert effective_complexity(torch.tensor([[heatmap]])).item() == pytest.approx(value, nan_ok=True)


def test_does_not_depend_on_the_other_maps_of_the_batch():
    # Quantus normalises by the maximum of the batch
    heatmaps = torch.stack([torch.rand(8, 8) + 0.1, 1e9 * torch.rand(8, 8)])
    assert effective_complexity(heatmaps)[0].item() == 64.0


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_threshold_is_checked(threshold):
    with pytest.raises(ValueError, match="Expected `threshold` to be"):
        EffectiveComplexity(threshold=threshold)
