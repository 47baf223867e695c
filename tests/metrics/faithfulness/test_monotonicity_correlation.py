from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lightning_xai.functional import monotonicity_correlation
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _sets


def _reference(view, num_sets=32, num_draws=10, seed=0):
    fills = [_sets.noise(view, seed, sample) for sample in range(num_draws)]
    attributions, drops = _sets.set_drops(
        view, num_sets, np.abs(view.heat), seed, lambda places: [np.where(places, fill, view.image) for fill in fills]
    )
    attributions = [np.float32(a) for a in attributions]
    if max(attributions) == min(attributions):
        return math.nan
    uncertainty = [sum(d * d for d in drop) / len(drop) / view.f(view.image) ** 2 for drop in drops]
    return float(stats.spearmanr(attributions, uncertainty)[0])


ENTRY = Entry(
    "monotonicity_correlation",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"num_sets": 5, "num_draws": 2, "seed": 4},),
)


def test_by_hand():
    # replacing the hotter pixel, which alone matters, changes the score; replacing the other one does not
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    image = torch.tensor([[[[1.0, 2.0]]]])
    assert monotonicity_correlation(
        net, image, torch.tensor([[[0.1, -5.0]]]), target=1, num_sets=2
    ).item() == pytest.approx(1.0)
    assert monotonicity_correlation(
        net, image, torch.tensor([[[5.0, 0.1]]]), target=1, num_sets=2
    ).item() == pytest.approx(-1.0)
