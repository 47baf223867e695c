from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats
from torch import nn

from lightning_xai.functional import monotonicity
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, num_sets=32, baseline="minimum", strict=False, correlation=False, seed=0):
    values = _naive.curve(view, "insertion", baseline, num_sets, "random", seed, "lerf")
    if correlation:
        return float(stats.spearmanr(values, range(len(values)))[0])
    rises = [later >= earlier for earlier, later in itertools.pairwise(values)]
    return float(all(rises)) if strict else sum(rises) / len(rises)


ENTRY = Entry(
    "monotonicity",
    ("model", "images", "heatmaps", "target"),
    _reference,
    undefined_by_model=True,
    variants=({"num_sets": 5, "correlation": True}, {"num_sets": 2, "strict": True}),
)


def test_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    image, heatmap = torch.tensor([[[[-1.0, 2.0]]]]), torch.tensor([[[0.0, 5.0]]])
    value = monotonicity(net, image, heatmap, target=1, num_sets=2, baseline=0.0)
    assert value.item() == pytest.approx(0.5, rel=1e-5)
