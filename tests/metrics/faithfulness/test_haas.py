from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.functional import haas
from lightning_xai.metrics import HAAS
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _enhanced(view, value_range):
    low, high = (view.image.min(), view.image.max()) if value_range is None else value_range
    scaled = 2 * (view.image - low) / (high - low) - 1
    peak = np.abs(view.heat).max()
    heat = view.heat / peak if peak > 0 else view.heat
    raised = np.clip(scaled * (1 + heat), -1, 1)
    return low + (raised + 1) / 2 * (high - low)


def _reference(view, value_range=None):
    return _masked.correct(view, view.image), _masked.correct(view, _enhanced(view, value_range))


ENTRY = Entry(
    "haas",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"value_range": (-3.0, 3.0)},),
    per_image=lambda rows: rows[:, 1] - rows[:, 0],
    value=lambda rows: rows[:, 1].sum() / rows[:, 0].sum(),
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    # range [-1, 1]: 0.6 doubles to 1 (clipped), -0.7 keeps: the sum turns positive
    images, heatmaps = torch.tensor([[[[0.6, -0.7]]], [[[0.6, 0.7]]]]), torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    metric = HAAS(value_range=(-1.0, 1.0))
    metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
    assert metric.compute().item() == 2.0
    assert haas(net, images, heatmaps, target=1, value_range=(-1.0, 1.0)).tolist() == [1.0, 0.0]


def test_none_correct_is_undefined():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    metric = HAAS()
    metric.update(
        model=net, images=-torch.ones(2, 1, 1, 2) * torch.tensor([1.0, 2.0]), heatmaps=torch.rand(2, 1, 2), target=1
    )
    assert metric.compute().isnan()


def test_value_range_is_checked():
    with pytest.raises(ValueError, match=r"Expected `value_range` as \(low, high\) with low < high, but got \(1, 0\)"):
        HAAS(value_range=(1, 0))
