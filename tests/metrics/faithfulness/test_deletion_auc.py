from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.functional import deletion_auc
from tests.metrics import _naive
from tests.metrics._harness import Entry
from tests.metrics.faithfulness.test_insertion_auc import Sum


def _reference(view, num_steps="radau", baseline=0.0, ties="random", seed=0):
    return _naive.area_under(view, "deletion", baseline, num_steps, ties, seed)


ENTRY = Entry(
    "deletion_auc",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"num_steps": 32},
        {"num_steps": 7, "baseline": "blur", "ties": "first"},
        {"num_steps": 10, "baseline": -0.5, "ties": "last"},
        {"num_steps": 6, "baseline": "uniform", "seed": 5},
    ),
)


def test_by_hand():
    # pixel 2 goes first, then pixel 1: sums 3, 1, 0
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.1, 0.9]]])
    value = deletion_auc(Sum(), image, heatmap, target=1, num_steps=2)
    points = [1 / (1 + math.exp(-s)) for s in (3.0, 1.0, 0.0)]
    assert value.item() == pytest.approx((points[0] / 2 + points[1] + points[2] / 2) / 2, abs=1e-6)


def test_class_0_of_a_single_logit_is_the_complement():
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.1, 0.9]]])
    values = [deletion_auc(Sum(), image, heatmap, target=label, num_steps=2).item() for label in (0, 1)]
    assert sum(values) == pytest.approx(1.0, abs=1e-6)
