from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.functional import sensitivity_n
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked, _subsets


def _reference(view, sizes=(1, 2, 4, 8, 16, 32, 64, 128), num_subsets=25, grid=(14, 14), baseline=0.0, seed=0):
    found = _subsets.subset_drops(
        view, sizes, num_subsets, grid, baseline, seed, lambda image: _masked.logit(view, image)
    )
    return float(np.mean([_masked.pearson(*rows) for rows in found]))


ENTRY = Entry(
    "sensitivity_n",
    ("model", "images", "heatmaps", "target"),
    _reference,
    base={"grid": (9, 7), "sizes": (1, 2, 8, 32)},
    variants=({"grid": (4, 3), "sizes": (2, 5), "num_subsets": 10, "seed": 5},),
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = sensitivity_n(net, image, heatmap, target=1, grid=(1, 2), sizes=(1,))
    assert value.item() == pytest.approx(1.0, rel=1e-5)


def test_exact_attributions_of_a_linear_model_score_one():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    images = torch.randn(3, 1, 8, 8)
    heatmaps = (net[1].weight[1].view(8, 8) * images[:, 0]).detach()
    values = sensitivity_n(net, images, heatmaps, target=1, grid=(8, 8), sizes=(1, 4, 16))
    torch.testing.assert_close(values, torch.ones(3))


@pytest.mark.parametrize("sizes", [(), (0,), (197,)])
def test_sizes_are_checked(sizes):
    with pytest.raises(ValueError, match=r"Expected `sizes` between 1 and the 196 cells of the grid, but got"):
        sensitivity_n(nn.Flatten(), torch.rand(1, 1, 14, 14), torch.rand(1, 14, 14), target=0, sizes=sizes)
