from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from lightning_xai.functional import complexity
from tests.metrics._harness import Entry, close


def _reference(view):
    heat = np.abs(view.heat).ravel()
    return -sum(h / heat.sum() * math.log(h / heat.sum()) for h in heat if h > 0) if heat.sum() > 0 else math.nan


ENTRY = Entry("complexity", ("heatmaps",), _reference)


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 0.0, 5.0, 0.0], 0.0),
        ([2.0, 2.0, 2.0, 2.0], math.log(4)),
        ([-1.0, 1.0, 0.0, 0.0], math.log(2)),
        ([1.0, 3.0, 0.0, 0.0], -0.25 * math.log(0.25) - 0.75 * math.log(0.75)),
        ([0.0, 0.0, 0.0, 0.0], math.nan),
    ],
)
def test_by_hand(heatmap, value):
    assert complexity(torch.tensor([[heatmap]])).item() == pytest.approx(value, abs=1e-6, nan_ok=True)


def test_equals_scipy_at_full_size():
    heatmaps = torch.rand(4, 224, 224)
    close(complexity(heatmaps), torch.from_numpy(entropy(heatmaps.double().flatten(1).numpy(), axis=1)))
