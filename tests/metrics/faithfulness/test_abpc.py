from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.functional import abpc
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, grid=(8, 8), baseline="uniform", seed=0):
    steps = grid[0] * grid[1]
    most, least = (_naive.curve(view, "deletion", baseline, steps, "random", seed, o, grid) for o in ("morf", "lerf"))
    return _naive.area(least) - _naive.area(most)


ENTRY = Entry(
    "abpc",
    ("model", "images", "heatmaps", "target"),
    _reference,
    shared=1,  # the unchanged image
    variants=({"grid": (3, 4), "baseline": 0.0, "seed": 3},),
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = abpc(net, image, heatmap, target=1, grid=(1, 2), baseline=0.0)
    f = {s: 1 / (1 + math.exp(-s)) for s in (-1.0, 0.0, 1.0, 2.0, 3.0)}
    assert value.item() == pytest.approx(
        (f[3.0] / 2 + f[2.0] + f[0.0] / 2) / 2 - (f[3.0] / 2 + f[1.0] + f[0.0] / 2) / 2, rel=1e-5
    )
