from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai._randomness import content_keys, normal, uniform
from lightning_xai.functional import infidelity
from tests.metrics import _naive
from tests.metrics._harness import Entry
from tests.metrics.faithfulness import _masked


def _perturbation(view, kind, side, baseline, sigma, seed, sample):
    keys, (channels, height, width) = content_keys(view.batch.images), view.image.shape
    if kind == "gaussian":
        return sigma * normal(keys, view.image.shape, seed=seed, sample=sample)[0].double().numpy()
    side = min(max(height // 4, 1), width) if side is None else side
    place = uniform(keys, (2,), seed=seed, sample=sample, purpose="perturbation")[0]
    top, left = int(place[0] * (height - side + 1)), int(place[1] * (width - side + 1))
    change = np.zeros((channels, height, width))
    for y in range(top, top + side):
        for x in range(left, left + side):
            change[:, y, x] = view.image[:, y, x] - baseline
    return change


def _reference(
    view,
    perturbation="square",
    num_samples=64,
    side=None,
    baseline=0.0,
    sigma=0.2,
    normalize=False,
    relative=False,
    seed=0,
    absolute=False,
):
    sigma = sigma * _naive.noise_unit(view, absolute)
    if _masked.normalized(view.heat) is None:
        return math.nan
    predicted, real = [], []
    for sample in range(num_samples):
        change = _perturbation(view, perturbation, side, baseline, sigma, seed, sample)
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
        {"perturbation": "gaussian", "num_samples": 9, "absolute": True},
        {"baseline": 1.0, "num_samples": 5, "normalize": True},
        {"side": 1, "num_samples": 6},
        {"side": 7, "num_samples": 5, "relative": True, "seed": 2},
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


def test_a_square_as_large_as_the_image_by_hand():
    # the whole image becomes 1: every pixel falls by 1, the heat says 1 + 0 + 0 + 2 = 3, the logit falls by 4
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    nn.init.ones_(net[1].weight)
    images, heatmaps = torch.full((1, 1, 2, 2), 2.0), torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    assert infidelity(net, images, heatmaps, target=1, side=2, baseline=1.0).item() == pytest.approx(1.0)
    relative = infidelity(net, images, heatmaps, target=1, side=2, baseline=1.0, relative=True)
    assert relative.item() == pytest.approx(1 / 16)


def test_a_side_of_a_quarter_of_the_height_is_the_default():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    given = {"model": net, "images": torch.randn(2, 1, 8, 8), "heatmaps": torch.rand(2, 8, 8), "target": 1}
    assert torch.equal(infidelity(**given, side=2), infidelity(**given))
    assert not torch.equal(infidelity(**given, side=3), infidelity(**given))


@pytest.mark.parametrize(
    ("side", "error", "text"),
    [
        (0, ValueError, "Expected `side` to be >= 1, but got 0"),
        (2.0, TypeError, "Expected `side` to be a whole number, but got float"),
        (3, ValueError, r"Expected `side` to be at most the images' size \(4, 2\), but got 3"),
    ],
)
def test_side_is_checked(side, error, text):
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(error, match=text):
        infidelity(net, torch.rand(1, 1, 4, 2), torch.rand(1, 4, 2), target=0, side=side)


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
