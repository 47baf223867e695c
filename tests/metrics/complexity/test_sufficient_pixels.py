from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xai.functional import sufficient_pixels
from lightning_xai.metrics import InsertionAUC, MetricSuite, SufficientPixels
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, EvaluationCount, tiny_net


def _reference(view, num_steps=32, tolerance=0.1, ties="random", seed=0):
    curve = _naive.curve(view, "insertion", "blur", num_steps, ties, seed)
    whole = curve[-1]
    step = next(k for k, f in enumerate(curve) if (whole - f) ** 2 <= tolerance * whole**2)
    pixels = view.heat.size
    return round(step * pixels / num_steps) / pixels


ENTRY = Entry(
    "sufficient_pixels",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=({"num_steps": 7, "ties": "first"}, {"tolerance": 0.01, "seed": 3}),
)


class Needs(nn.Module):
    """Say class 1 with probability 0.9 if the first two pixels are intact, else with 0.1."""

    def forward(self, images):
        intact = (images[:, 0, 0, 0] > 0.99) & (images[:, 0, 0, 1] > 0.99)
        margin = torch.where(intact, 1.0, -1.0) * torch.log(torch.tensor(9.0))
        return torch.stack([torch.zeros_like(margin), margin], 1)


@pytest.mark.parametrize(
    ("heat", "share"),
    [
        ([4.0, 3.0, 2.0, 1.0], 0.5),
        ([4.0, 2.0, 3.0, 1.0], 0.75),
        ([1.0, 2.0, 3.0, 4.0], 1.0),
    ],
)
def test_by_hand(heat, share):
    images = torch.ones(1, 1, 1, 4)
    assert sufficient_pixels(Needs(), images, torch.tensor([[heat]]), 1, num_steps=4).item() == share


def test_the_share_is_of_pixels_not_of_steps():
    images, heat = torch.ones(1, 1, 1, 4), torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
    assert sufficient_pixels(Needs(), images, heat, 1, num_steps=32).item() == 0.5


def test_the_tolerance_is_about_squares():
    # (0.9 − 0.1)² = 0.79 · 0.9²: the blurred image suffices from there on
    images, heat = torch.ones(1, 1, 1, 4), torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
    for tolerance, share in ((0.79, 0.5), (0.8, 0.0)):
        assert sufficient_pixels(Needs(), images, heat, 1, num_steps=4, tolerance=tolerance).item() == share


def test_costs_nothing_beside_insertion_at_as_many_points():
    batch, net = Batch.draw(3), tiny_net()
    count = EvaluationCount(net)
    suite = MetricSuite([InsertionAUC(num_steps=32), "sufficient_pixels"])
    suite.update(**ENTRY.given(batch, net))
    assert count.images / 3 == SufficientPixels().evaluations() == suite.evaluations() == 33
