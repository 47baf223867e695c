from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai.functional import faithfulness_correlation
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked, _subsets


def _reference(view, num_subsets=100, share=0.2, grid=(14, 14), baseline=0.0, seed=0):
    size = max(1, round(share * grid[0] * grid[1]))
    ((attributions, drops),) = _subsets.subset_drops(view, [size], num_subsets, grid, baseline, seed, view.f)
    return _masked.pearson(attributions, drops)


ENTRY = Entry(
    "faithfulness_correlation",
    ("model", "images", "heatmaps", "target"),
    _reference,
    base={"grid": (9, 7)},
    variants=({"grid": (4, 3), "share": 0.5, "num_subsets": 20, "baseline": "mean", "seed": 5},),
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = faithfulness_correlation(net, image, heatmap, target=1, grid=(1, 2), share=0.5)
    assert value.item() == pytest.approx(1.0, rel=1e-5)
