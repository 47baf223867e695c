from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai.explainers import GradCAM
from lightning_xai.functional import completeness
from tests.metrics._harness import Entry, Squares
from tests.metrics.faithfulness import _masked


def _reference(view, baseline=0.0, relative=True):
    change = _masked.logit(view, view.image) - _masked.logit(view, np.full_like(view.image, baseline))
    error = abs(view.heat.sum() - change)
    return error / max(abs(change), 1e-6) if relative else error


ENTRY = Entry(
    "completeness",
    ("model", "images", "heatmaps", "explainer", "target"),
    _reference,
    shared=0.8,
    variants=({"relative": False, "baseline": 0.5},),
)


def test_exact_attributions_of_a_linear_model_are_complete():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))

    class Exact(Squares):
        def explain(self, classifier, images, target):
            return (net[1].weight[target].view(-1, 1, 4, 4) * images).sum(1)

    assert completeness(net, torch.rand(3, 1, 4, 4), Exact(), target=1).max() < 1e-4


def test_only_for_explainers_that_promise_it():
    with pytest.raises(
        ValueError, match="Expected `explainer` to promise completeness for Completeness, but GradCAM does not"
    ):
        completeness(
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            torch.rand(1, 1, 4, 4),
            GradCAM(),
            target=0,
        )
