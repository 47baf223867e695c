from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.functional import faithfulness_estimate
from tests.metrics import _naive
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked, _sets


def _reference(view, num_chunks=64, baseline="minimum", seed=0):
    fill = _naive.replaced(view, baseline, seed)
    attributions, drops = _sets.set_drops(
        view, num_chunks, view.heat, seed, lambda places: [np.where(places, fill, view.image)]
    )
    return _masked.pearson(attributions, [drop for (drop,) in drops])


ENTRY = Entry(
    "faithfulness_estimate",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"num_chunks": 7, "baseline": 0.0, "seed": 2},),
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = faithfulness_estimate(net, image, heatmap, target=1, num_chunks=2, baseline=0.0)
    assert value.item() == pytest.approx(1.0, rel=1e-5)
