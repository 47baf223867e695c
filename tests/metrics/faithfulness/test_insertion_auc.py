from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.functional import insertion_auc
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, num_steps="radau", baseline="blur", ties="random", seed=0):
    return _naive.area_under(view, "insertion", baseline, num_steps, ties, seed)


ENTRY = Entry(
    "insertion_auc",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"num_steps": 32},
        {"num_steps": 7, "baseline": 0.0, "ties": "first"},
        {"num_steps": 200, "ties": "last"},  # more steps than pixels
        {"num_steps": 5, "baseline": "mean", "seed": 3},
    ),
)


class Sum(nn.Module):
    """A binary model whose logit is the sum of the image."""

    def forward(self, images):
        return images.flatten(1).sum(1, keepdim=True)


def test_by_hand():
    # black start, pixels 1 and 2 come back in that order: sums 0, 1, 3
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.9, 0.1]]])
    value = insertion_auc(Sum(), image, heatmap, target=1, num_steps=2, baseline=0.0)
    points = [1 / (1 + math.exp(-s)) for s in (0.0, 1.0, 3.0)]
    assert value.item() == pytest.approx((points[0] / 2 + points[1] + points[2] / 2) / 2, abs=1e-6)


def test_starts_from_the_blurred_image():
    # one pixel: the blurred start keeps the middle of the kernel, then the pixel comes back
    image = torch.tensor([[[[2.0]]]])
    middle = float(_naive.blurred(_impulse())[0, 5, 5])
    value = insertion_auc(Sum(), image, torch.ones(1, 1, 1), target=1, num_steps=1)
    points = [1 / (1 + math.exp(-s)) for s in (2 * middle, 2.0)]
    assert value.item() == pytest.approx(sum(points) / 2, abs=1e-6)


def _impulse():
    image = torch.zeros(1, 11, 11, dtype=torch.float64)
    image[0, 5, 5] = 1.0
    return image.numpy()
