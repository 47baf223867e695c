from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.functional import average_gain
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _reference(view):
    image, rest = _masked.seen(view), _masked.rest(view, view.image)
    if image is None or rest < 1e-6:
        return math.nan
    return max(0.0, rest - _masked.rest(view, image)) / rest * 100.0


ENTRY = Entry("average_gain", ("model", "images", "heatmaps", "target"), _reference)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[-1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = average_gain(net, image, heatmap, target=1)
    f = {s: 1 / (1 + math.exp(-s)) for s in (-1.0, 0.0, 1.0, 2.0, 3.0)}
    assert value.item() == pytest.approx((f[2.0] - f[1.0]) / (1 - f[1.0]) * 100, rel=1e-5)


def test_a_margin_beyond_float32_is_no_zero():
    # 1 - f is 0 in float32 from a margin of 17 on; here the margins are 12 and 13
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[-1.0, 13.0]]]]), torch.tensor([[[0.0, 1.0]]])
    rest = [1 / (1 + math.exp(s)) for s in (12.0, 13.0)]
    assert average_gain(net, image, heatmap, target=1).item() == pytest.approx(
        (rest[0] - rest[1]) / rest[0] * 100, rel=1e-4
    )
