from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.functional import selectivity
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, grid=(8, 8), baseline="minimum", ties="random", seed=0):
    return _naive.area(_naive.curve(view, "deletion", baseline, grid[0] * grid[1], ties, seed, grid=grid))


ENTRY = Entry(
    "selectivity", ("model", "images", "heatmaps", "target"), _reference, variants=({"grid": (3, 4), "ties": "first"},)
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = selectivity(net, image, heatmap, target=1, grid=(1, 2), baseline=0.0)
    f = {s: 1 / (1 + math.exp(-s)) for s in (-1.0, 0.0, 1.0, 2.0, 3.0)}
    assert value.item() == pytest.approx((f[3.0] / 2 + f[1.0] + f[0.0] / 2) / 2, rel=1e-5)
