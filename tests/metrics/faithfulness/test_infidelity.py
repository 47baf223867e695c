from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai._randomness import content_keys, normal, uniform
from lightning_xai.functional import infidelity
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _perturbation(view, kind, baseline, sigma, seed, sample):
    keys, (channels, height, width) = content_keys(view.batch.images), view.image.shape
    if kind == "gaussian":
        return sigma * normal(keys, view.image.shape, seed=seed, sample=sample)[0].double().numpy()
    side = min(max(height // 4, 1), width)
    place = uniform(keys, (2,), seed=seed, sample=sample, purpose="perturbation")[0]
    top, left = int(place[0] * (height - side + 1)), int(place[1] * (width - side + 1))
    change = np.zeros((channels, height, width))
    for y in range(top, top + side):
        for x in range(left, left + side):
            change[:, y, x] = view.image[:, y, x] - baseline
    return change


def _reference(
    view, perturbation="square", num_samples=64, baseline=0.0, sigma=0.2, normalize=False, relative=False, seed=0
):
    if _masked.normalized(view.heat) is None:
        return math.nan
    predicted, real = [], []
    for sample in range(num_samples):
        change = _perturbation(view, perturbation, baseline, sigma, seed, sample)
        predicted.append(sum(float((change[c] * view.heat).sum()) for c in range(len(change))))
        real.append(_masked.logit(view, view.image) - _masked.logit(view, view.image - change))
    predicted, real = np.array(predicted), np.array(real)
    if normalize:
        power = (predicted**2).mean()
        predicted = predicted * ((predicted * real).mean() / power if power > 0 else 0.0)
    error = ((predicted - real) ** 2).mean()
    return error / (real**2).mean() if relative else error


ENTRY = Entry(
    "infidelity",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"normalize": True, "relative": True, "num_samples": 7},
        {"perturbation": "gaussian", "sigma": 0.1, "num_samples": 9, "seed": 6},
        {"baseline": 1.0, "num_samples": 5, "normalize": True},
    ),
)


def test_by_hand():
    # one pixel, always removed: predicted 2 * 3 = 6, real 2
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    values = infidelity(net, torch.full((1, 1, 1, 2), 2.0), torch.tensor([[[3.0, 1.0]]]), target=1, num_samples=200)
    # half of the squares hit the left pixel: errors (6 - 2)² and (2 - 2)²
    assert 4.0 < values.item() < 12.0
    assert values.item() / 16 * 200 == pytest.approx(round(values.item() / 16 * 200), abs=1e-3)


def test_exact_attributions_of_a_linear_model_score_zero():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    heatmaps = net[1].weight[1].view(1, 8, 8).detach()
    value = infidelity(net, torch.randn(1, 1, 8, 8), heatmaps, target=1, perturbation="gaussian")
    assert value.item() == pytest.approx(0.0, abs=1e-9)


def test_normalize_leaves_scale_out():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    images, heatmaps = torch.randn(2, 1, 8, 8), torch.rand(2, 8, 8)
    values = [infidelity(net, images, s * heatmaps, target=1, normalize=True) for s in (1.0, 100.0)]
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-6)
