from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.functional import haas
from lightning_xai.metrics import HAAS
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _enhanced(view, value_range, heat):
    low, high = (view.image.min(), view.image.max()) if value_range is None else value_range
    scaled = 2 * (view.image - low) / (high - low) - 1
    raised = np.clip(scaled * (1 + heat), -1, 1)
    return low + (raised + 1) / 2 * (high - low)


def _reference(view, value_range=None, normalize="max_abs"):
    if normalize == "minmax":
        mask = _masked.normalized(view.heat)
        if mask is None:
            return math.nan, math.nan
        heat = 2 * mask - 1
    else:
        heat = view.heat / (np.abs(view.heat).max() or 1.0)
    return _masked.correct(view, view.image), _masked.correct(view, _enhanced(view, value_range, heat))


ENTRY = Entry(
    "haas",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"value_range": (-3.0, 3.0)},
        {"normalize": "minmax"},
        {"value_range": (-4.0, 4.0), "normalize": "minmax"},
    ),
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


def test_minimum_and_maximum_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    # heat 3 becomes 1 and 2 becomes -1: 0.3 doubles to 0.6, -0.5 vanishes; with the largest magnitude it is -0.1
    images, heatmaps = torch.tensor([[[[0.3, -0.5]]]]), torch.tensor([[[3.0, 2.0]]])
    changes = [
        haas(net, images, heatmaps, target=1, value_range=(-1.0, 1.0), normalize=way).item()
        for way in ("minmax", "max_abs")
    ]
    assert changes == [1.0, 0.0]


def test_a_constant_heatmap_has_no_minimum_and_maximum():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    metric = HAAS(normalize="minmax")
    heatmaps = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]])
    metric.update(model=net, images=torch.tensor([[[[1.0, 2.0]]]]).expand(2, 1, 1, 2), heatmaps=heatmaps, target=1)
    assert metric.rows.isnan().all(1).tolist() == [True, False]
    assert (metric.compute().item(), metric.undefined, metric.can_be_undefined) == (1.0, 1, True)
    assert not HAAS.can_be_undefined


def test_none_correct_is_undefined():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    metric = HAAS()
    metric.update(
        model=net, images=-torch.ones(2, 1, 1, 2) * torch.tensor([1.0, 2.0]), heatmaps=torch.rand(2, 1, 2), target=1
    )
    assert metric.compute().isnan()


def test_normalize_is_checked():
    with pytest.raises(ValueError, match="Expected `normalize` to be one of 'max_abs', 'minmax', but got 'min_max'"):
        HAAS(normalize="min_max")


def test_value_range_is_checked():
    with pytest.raises(ValueError, match=r"Expected `value_range` as \(low, high\) with low < high, but got \(1, 0\)"):
        HAAS(value_range=(1, 0))
