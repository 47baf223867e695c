from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import relevance_mass_accuracy
from tests.metrics._harness import Entry


def _reference(view):
    positive = {place: max(view.heat[place], 0.0) for place in np.ndindex(view.mask.shape)}
    total = sum(positive.values())
    if total == 0 or not view.mask.any():
        return math.nan
    return sum(heat for place, heat in positive.items() if view.mask[place]) / total


ENTRY = Entry("relevance_mass_accuracy", ("heatmaps", "masks"), _reference)

MASK = torch.tensor([[[False, True, True, False]]])


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 2.0, 1.0, 0.0], 1.0),
        ([1.0, 2.0, 1.0, 0.0], 0.75),
        ([1.0, 3.0, -9.0, 0.0], 0.75),  # negative heat does not count
        ([1.0, 1.0, 1.0, 1.0], 0.5),  # the object's share of the image
        ([0.0, 0.0, 0.0, 0.0], math.nan),
        ([-1.0, -2.0, -1.0, -3.0], math.nan),
    ],
)
def test_by_hand(heatmap, value):
    assert relevance_mass_accuracy(torch.tensor([[heatmap]]), MASK).item() == pytest.approx(value, nan_ok=True)
