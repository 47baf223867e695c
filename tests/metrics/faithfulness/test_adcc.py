from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lightning_xai.explainers import CenterHeatmap, FakeCAM
from lightning_xai.functional import adcc
from tests.metrics._harness import Entry, squares
from tests.metrics.faithfulness import _masked


def _reference(view):
    mask, image = _masked.normalized(view.heat), _masked.seen(view)
    if image is None or view.f(view.image) < 1e-6:
        return math.nan
    again = squares(image, view.target)
    correlation = _masked.pearson(view.heat.ravel(), again.ravel())
    coherency = 0.0 if math.isnan(correlation) else (1 + correlation) / 2
    drop = max(0.0, view.f(view.image) - view.f(image)) / view.f(view.image)
    terms = [coherency, 1 - mask.mean(), 1 - drop]
    return 0.0 if min(terms) <= 0 else 3 / sum(1 / term for term in terms)


ENTRY = Entry("adcc", ("model", "images", "heatmaps", "explainer", "target"), _reference)


def test_by_hand():
    # a map that ignores the image is perfectly coherent; a model without an opinion drops nothing
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(net[1].weight)
    explainer, images = CenterHeatmap(), torch.rand(1, 1, 1, 4)
    heat = explainer(net, images, 0)[0]
    conciseness = 1 - ((heat - heat.min()) / (heat.max() - heat.min())).mean().item()
    assert adcc(net, images, explainer, target=0).item() == pytest.approx(3 / (1 + 1 / conciseness + 1), rel=1e-5)


def test_fake_cam_does_not_fool_it():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    assert adcc(net, torch.rand(2, 1, 8, 8), FakeCAM(), target=0).max() < 0.1
