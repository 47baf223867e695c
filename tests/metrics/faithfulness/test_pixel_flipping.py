from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.functional import deletion_auc, pixel_flipping
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, tiny_net
from tests.metrics.faithfulness.test_insertion_auc import Sum


def _reference(view, num_steps="radau", baseline="minimum", ties="random", seed=0):
    return _naive.area_under(view, "deletion", baseline, num_steps, ties, seed)


ENTRY = Entry(
    "pixel_flipping",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"num_steps": 32},
        {"num_steps": 7, "ties": "first"},
        {"num_steps": 10, "baseline": 0.0, "ties": "last"},
        {"num_steps": 3, "baseline": "uniform", "seed": 9},
    ),
)


def test_by_hand_pixels_become_the_images_minimum():
    # the smallest value is 1: sums 1 + 2, then 1 + 1
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.1, 0.9]]])
    value = pixel_flipping(Sum(), image, heatmap, target=1, num_steps=2)
    points = [1 / (1 + math.exp(-s)) for s in (3.0, 2.0, 2.0)]
    assert value.item() == pytest.approx((points[0] / 2 + points[1] + points[2] / 2) / 2, abs=1e-6)


def test_is_deletion_at_baseline_zero():
    arguments = ENTRY.given(Batch.draw(4), tiny_net())
    torch.testing.assert_close(pixel_flipping(**arguments, baseline=0.0), deletion_auc(**arguments), rtol=0, atol=0)
