from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from lightning_xai import FakeCAM
from lightning_xai.functional import efficient_parameter_randomization
from lightning_xai.metrics import EfficientParameterRandomization
from lightning_xai.metrics.randomization.efficient_parameter_randomization import histogram_entropy
from tests.metrics._harness import Batch, Entry, close, tiny_net
from tests.metrics.randomization._explainers import LastLayer, is_degenerate, randomized_maps
from tests.metrics.randomization.test_parameter_randomization import Nth


def _entropy(heat, bins):
    """Count into bins over the map's own range, the last one closed."""
    if is_degenerate(heat):
        return 0.0
    edges = np.linspace(heat.min(), heat.max(), bins + 1)
    counts = [((heat >= low) & (heat < high)).sum() for low, high in pairwise(edges)]
    counts[-1] += (heat == heat.max()).sum()
    shares = [count / heat.size for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def _reference(view, bins=100, order="top_down", num_steps=8, seed=0):
    if is_degenerate(view.heat):
        return math.nan
    *_, last = randomized_maps(view, order, num_steps, seed)
    return (_entropy(last, bins) - _entropy(view.heat, bins)) / _entropy(view.heat, bins)


ENTRY = Entry(
    "efficient_parameter_randomization",
    ("model", "images", "heatmaps", "target", "explainer"),
    _reference,
    variants=({"bins": 7, "seed": 2}, {"order": "bottom_up"}, {"num_steps": 1}),
    explainer=LastLayer(),
)


@pytest.mark.parametrize(
    ("original", "last", "value"),
    [
        ([0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], math.log(2) / entropy([3, 1]) - 1),
        ([0.0, 0.0, 1.0, 1.0], [0.0, 0.3, 0.6, 1.0], 1.0),  # ln 4 over ln 2
        ([0.0, 0.0, 1.0, 1.0], [7.0, 7.0, 7.0, 7.0], -1.0),
        ([0.0, 0.3, 0.6, 1.0], [5.0, 5.0, 9.0, 9.0], -0.5),
        ([7.0, 7.0, 7.0, 7.0], [0.0, 0.3, 0.6, 1.0], math.nan),
    ],
)
def test_by_hand(original, last, value):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    found = efficient_parameter_randomization(net, torch.rand(1, 1, 1, 4), Nth(original, last), target=0)
    assert found.item() == pytest.approx(value, nan_ok=True, abs=1e-6)


def test_entropy_equals_numpy_and_scipy():
    heatmaps = torch.cat(
        [torch.randn(3, 60, 70), torch.rand(1, 60, 70).round(decimals=1), torch.randn(1, 60, 70).relu()]
    )
    for bins in (2, 10, 100):
        expected = [entropy(np.histogram(heat.double().numpy(), bins=bins)[0]) for heat in heatmaps]
        close(histogram_entropy(heatmaps, bins), torch.tensor(expected), 1e-3 if bins == 10 else 1e-6)


def test_neither_the_order_nor_the_number_of_steps_matters():
    arguments = ENTRY.given(Batch.draw(3), tiny_net())
    one = efficient_parameter_randomization(**arguments, num_steps=1)
    for settings in ({}, {"order": "bottom_up"}, {"num_steps": 2}):
        assert torch.equal(efficient_parameter_randomization(**arguments, **settings), one)
    assert not torch.equal(efficient_parameter_randomization(**arguments, seed=1), one)


def test_a_map_that_ignores_the_model_scores_zero():
    batch = Batch.draw(3)
    assert efficient_parameter_randomization(tiny_net(), batch.images, FakeCAM(), batch.target).tolist() == [0.0] * 3


def test_settings_are_checked():
    with pytest.raises(ValueError, match="Expected `bins` to be >= 2, but got 1"):
        EfficientParameterRandomization(bins=1)
    with pytest.raises(
        ValueError, match="Expected `order` to be one of 'top_down', 'bottom_up', but got 'independent'"
    ):
        EfficientParameterRandomization(order="independent")
