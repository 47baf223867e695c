from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.functional import average_drop
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _reference(view):
    image = _masked.seen(view)
    if image is None or view.f(view.image) < 1e-6:
        return math.nan
    return max(0.0, view.f(view.image) - view.f(image)) / view.f(view.image) * 100.0


ENTRY = Entry("average_drop", ("model", "images", "heatmaps", "target"), _reference)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = average_drop(net, image, heatmap, target=1)
    f = {s: 1 / (1 + math.exp(-s)) for s in (-1.0, 0.0, 1.0, 2.0, 3.0)}
    assert value.item() == pytest.approx((f[3.0] - f[2.0]) / f[3.0] * 100, rel=1e-5)


def test_fake_cam_fools_it():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    images, heatmaps = torch.randn(20, 1, 8, 8), torch.ones(20, 8, 8)
    heatmaps[:, 0, 0] = 0.0
    assert average_drop(net, images, heatmaps, target=0).mean() < 5.0
