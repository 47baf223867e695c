from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai._segments import grid_labels
from lightning_xai.functional import selectivity
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, grid=(8, 8), baseline="minimum", ties="random", seed=0):
    return _naive.area(
        _naive.curve(view, "deletion", baseline, grid[0] * grid[1], ties, seed, grid=grid, pooling="sum")
    )


ENTRY = Entry(
    "selectivity", ("model", "images", "heatmaps", "target"), _reference, variants=({"grid": (3, 4), "ties": "first"},)
)


def test_patches_of_different_sizes_are_ranked_by_their_sum():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 3.0]])
    image, heatmap = torch.ones(1, 1, 1, 3), torch.tensor([[[2.0, 2.0, 3.0]]])  # two pixels, then one: sums 4 and 3
    labels = grid_labels((1, 3), (1, 2), torch.device("cpu"))[0].tolist()
    assert labels in ([0, 0, 1], [0, 1, 1])
    value = selectivity(net, image, heatmap, target=1, grid=(1, 2), baseline=0.0)
    sums = [sum(h for h, label in zip([2.0, 2.0, 3.0], labels, strict=True) if label == part) for part in (0, 1)]
    kept = [w for w, label in zip([1.0, 1.0, 3.0], labels, strict=True) if label != sums.index(max(sums))]
    f = [1 / (1 + math.exp(-s)) for s in (5.0, sum(kept), 0.0)]
    assert value.item() == pytest.approx((f[0] / 2 + f[1] + f[2] / 2) / 2, rel=1e-5)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = selectivity(net, image, heatmap, target=1, grid=(1, 2), baseline=0.0)
    f = {s: 1 / (1 + math.exp(-s)) for s in (-1.0, 0.0, 1.0, 2.0, 3.0)}
    assert value.item() == pytest.approx((f[3.0] / 2 + f[1.0] + f[0.0] / 2) / 2, rel=1e-5)
