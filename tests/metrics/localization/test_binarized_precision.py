from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lightning_xai.functional import binarized_precision
from lightning_xai.metrics import BinarizedPrecision
from tests.metrics._harness import Entry


def _reference(view, threshold=0.85):
    peak = view.heat.max()
    if peak <= 0 or not view.boxes:
        return math.nan
    hot = [(y, x) for y, x in np.ndindex(view.heat.shape) if view.heat[y, x] >= threshold * peak]
    inside = [any(x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1 for x0, y0, x1, y1 in view.boxes) for y, x in hot]
    return sum(inside) / len(hot)


ENTRY = Entry(
    "binarized_precision",
    ("heatmaps", "boxes"),
    _reference,
    variants=({"threshold": 0.3}, {"threshold": 0.05}, {"threshold": 1}),
)

BOX = torch.tensor([[1, 0, 3, 1]])


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 2.0, 1.0, 0.0], 1.0),
        ([3.0, 2.0, 1.0, 0.0], 0.0),
        ([2.0, 2.0, 1.8, 1.6], 2 / 3),
        ([4.0, 3.4, 3.3, 0.0], 0.5),  # the threshold itself is hot
        ([1.0, 1.0, 1.0, 1.0], 0.5),
        ([0.0, 0.0, 0.0, 0.0], math.nan),
        ([-2.0, -1.0, -1.0, -2.0], math.nan),
    ],
)
def test_by_hand(heatmap, value):
    assert binarized_precision(torch.tensor([[heatmap]]), BOX).item() == pytest.approx(value, nan_ok=True)


def test_the_box_of_a_mask_counts_not_the_mask():
    mask = torch.tensor([[[True, False, True, False]]])
    metric = BinarizedPrecision()
    metric.update(heatmaps=torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]), masks=mask)
    assert metric.compute().item() == 0.5


def test_the_union_of_several_boxes_counts():
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 1.0], [math.nan] * 4]])
    assert binarized_precision(torch.ones(1, 1, 4), boxes).item() == 0.5


@pytest.mark.parametrize("threshold", [0, -1, 1.5])
def test_threshold_is_checked(threshold):
    for make in (
        lambda t: BinarizedPrecision(threshold=t),
        lambda t: binarized_precision(torch.ones(1, 1, 4), BOX, threshold=t),
    ):
        with pytest.raises(ValueError, match="Expected `threshold` to be"):
            make(threshold)
