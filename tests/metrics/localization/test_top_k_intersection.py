from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import relevance_rank_accuracy, top_k_intersection
from lightning_xai.metrics import TopKIntersection
from tests.metrics._harness import Entry


def _reference(view, k=None):
    """Walk down the distinct values; pixels of one heat count by their mean."""
    k, taken, hits = k or max(1, min(1000, round(0.02 * view.heat.size))), 0, 0.0
    if not view.mask.any():
        return math.nan
    for heat in sorted(set(view.heat.ravel()), reverse=True):
        tied = [place for place in np.ndindex(view.mask.shape) if view.heat[place] == heat]
        fits = min(len(tied), k - taken)
        hits += fits * sum(view.mask[place] for place in tied) / len(tied)
        taken += fits
    return hits / k


ENTRY = Entry("top_k_intersection", ("heatmaps", "masks"), _reference, variants=({"k": 1}, {"k": 20}, {"k": 99}))

MASK = torch.tensor([[[False, True, True, False]]])


@pytest.mark.parametrize(
    ("heatmap", "k", "value"),
    [
        ([0.0, 2.0, 1.0, 0.0], None, 1.0),  # 2 % of four pixels: at least one
        ([3.0, 2.0, 1.0, 0.0], None, 0.0),
        ([3.0, 2.0, 1.0, 0.0], 2, 0.5),
        ([3.0, 2.0, 1.0, 0.0], 3, 2 / 3),
        ([1.0, 1.0, 1.0, 1.0], 3, 0.5),
        ([1.0, 3.0, 1.0, 1.0], 2, (1 + 1 / 3) / 2),
        ([-2.0, -1.0, -1.0, -2.0], 2, 1.0),
    ],
)
def test_by_hand(heatmap, k, value):
    assert top_k_intersection(torch.tensor([[heatmap]]), MASK, k=k).item() == pytest.approx(value)


@pytest.mark.parametrize(("side", "k"), [(10, 2), (100, 200), (224, 1000), (300, 1000)])
def test_default_is_two_percent_and_at_most_a_thousand(side, k):
    heatmap = torch.arange(side * side).flip(0).float().view(1, side, side)
    for inside in (k - 1, k, k + 1):
        mask = (torch.arange(side * side) < inside).view(1, side, side)
        assert top_k_intersection(heatmap, mask).item() == pytest.approx(min(inside, k) / k)


def test_with_k_of_the_mask_it_is_relevance_rank_accuracy():
    heatmaps, masks = torch.rand(1, 9, 9), torch.rand(1, 9, 9) < 0.3
    value = top_k_intersection(heatmaps, masks, k=int(masks.sum()))
    assert torch.equal(value, relevance_rank_accuracy(heatmaps, masks))


def test_k_is_checked():
    with pytest.raises(ValueError, match=r"Expected `k` to be >= 1, but got 0\."):
        TopKIntersection(k=0)
    with pytest.raises(ValueError, match=r"Expected `k` to be at most the 4 pixels of a heatmap, but got 5\."):
        top_k_intersection(MASK.float(), MASK, k=5)
