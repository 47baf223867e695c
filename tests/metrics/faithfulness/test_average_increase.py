from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.functional import average_increase
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _reference(view):
    image = _masked.seen(view)
    return math.nan if image is None else 100.0 * (view.f(image) > view.f(view.image))


ENTRY = Entry("average_increase", ("model", "images", "heatmaps", "target"), _reference)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[-1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = average_increase(net, image, heatmap, target=1)
    assert value.item() == pytest.approx(100.0, rel=1e-5)


def test_no_increase():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = average_increase(net, image, heatmap, target=1)
    assert value.item() == pytest.approx(0.0, rel=1e-5)
