from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import relevance_rank_accuracy
from tests.metrics._harness import Entry


def _reference(view):
    """Average over all orders of tied pixels, in closed form: pixels of one heat count by their mean."""
    count, taken, hits = int(view.mask.sum()), 0, 0.0
    if count == 0:
        return math.nan
    for heat in sorted(set(view.heat.ravel()), reverse=True):
        tied = [place for place in np.ndindex(view.mask.shape) if view.heat[place] == heat]
        fits = min(len(tied), count - taken)
        hits += fits * sum(view.mask[place] for place in tied) / len(tied)
        taken += fits
    return hits / count


ENTRY = Entry("relevance_rank_accuracy", ("heatmaps", "masks"), _reference)

MASK = torch.tensor([[[False, True, True, False]]])


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 2.0, 1.0, 0.0], 1.0),
        ([3.0, 2.0, 1.0, 0.0], 0.5),
        ([3.0, 1.0, 1.0, 2.0], 0.0),
        ([1.0, 1.0, 1.0, 1.0], 0.5),
        ([1.0, 3.0, 1.0, 1.0], (1 + 1 / 3) / 2),  # one of three tied pixels fits, one of them is inside
        ([-2.0, -1.0, -1.0, -2.0], 1.0),  # order only
    ],
)
def test_by_hand(heatmap, value):
    assert relevance_rank_accuracy(torch.tensor([[heatmap]]), MASK).item() == pytest.approx(value)


def test_ties_equal_the_mean_over_random_orders():
    random = torch.Generator().manual_seed(0)
    heatmap = torch.randint(3, (1, 4, 5), generator=random).float()
    mask = torch.rand(1, 4, 5, generator=random) < 0.4
    jittered = heatmap + 0.5 * torch.rand(20000, 4, 5, generator=random)
    mean = relevance_rank_accuracy(jittered, mask.expand_as(jittered)).mean()
    assert relevance_rank_accuracy(heatmap, mask).item() == pytest.approx(mean.item(), abs=0.005)
