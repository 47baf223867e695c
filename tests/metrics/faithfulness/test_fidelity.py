from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.functional import fidelity
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _reference(view, percentile=10.0):
    positive = view.heat[view.heat > 0]
    if not len(positive):
        return math.nan
    hot = (view.heat > 0) & (view.heat >= np.percentile(positive, percentile))
    return _masked.correct(view, view.image) - _masked.correct(view, np.where(hot, 0.0, view.image))


ENTRY = Entry("fidelity", ("model", "images", "heatmaps", "target"), _reference, variants=({"percentile": 60.0},))


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[-1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = fidelity(net, image, heatmap, target=1)
    assert value.item() == pytest.approx(1.0, rel=1e-5)
