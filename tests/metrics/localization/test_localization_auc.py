from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from lightning_xai.functional import localization_auc
from tests.metrics._harness import Entry


def _reference(view):
    """Compare every pixel inside with every pixel outside."""
    inside, outside = view.heat[view.mask], view.heat[~view.mask]
    if len(inside) == 0 or len(outside) == 0:
        return math.nan
    wins = sum((a > b) + 0.5 * (a == b) for a in inside for b in outside)
    return wins / (len(inside) * len(outside))


ENTRY = Entry("localization_auc", ("heatmaps", "masks"), _reference)

MASK = torch.tensor([[[False, True, True, False]]])


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 2.0, 1.0, 0.0], 1.0),
        ([3.0, 2.0, 1.0, 0.0], 0.5),
        ([3.0, 1.0, 1.0, 2.0], 0.0),
        ([1.0, 1.0, 1.0, 1.0], 0.5),
        ([1.0, 3.0, 1.0, 0.0], (2 + 1.5) / 4),
        ([-2.0, -1.0, -1.0, -2.0], 1.0),
        ([-0.0, 0.0, 0.0, -0.0], 0.5),
    ],
)
def test_by_hand(heatmap, value):
    assert localization_auc(torch.tensor([[heatmap]]), MASK).item() == pytest.approx(value)


@pytest.mark.parametrize("mask", [torch.zeros(1, 3, 3, dtype=torch.bool), torch.ones(1, 3, 3, dtype=torch.bool)])
def test_undefined_without_object_or_background(mask):
    assert localization_auc(torch.rand(1, 3, 3), mask).isnan().all()


@pytest.mark.parametrize("levels", [2, 50, 10**7])
def test_equals_scikit_learn_at_full_size(levels):
    heatmaps = torch.randint(levels, (3, 224, 224)).float() / levels
    masks = torch.rand(3, 224, 224) < torch.tensor([0.001, 0.3, 0.9]).view(3, 1, 1)
    expected = [roc_auc_score(m.flatten(), h.flatten()) for m, h in zip(masks, heatmaps, strict=True)]
    assert localization_auc(heatmaps, masks).tolist() == pytest.approx(expected, abs=1e-6)
