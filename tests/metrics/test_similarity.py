from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from lightning_xai.metrics.similarity import similarity, ssim


def naive_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Wang et al. 2004 on min-max normalised maps: Gaussian windows, mirrored borders, mean over all pixels."""
    a, b = ((heat - heat.min()) / (heat.max() - heat.min()) for heat in (first, second))
    radius = [min(5, side - 1) for side in a.shape]
    sigma = [1.5 if side >= 7 else max(r / 3.5, 1e-9) for side, r in zip(a.shape, radius, strict=True)]

    def mean(values):
        return gaussian_filter(values, sigma, mode="mirror", radius=radius)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((values / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


@pytest.mark.parametrize("size", [(1, 9), (2, 3), (5, 6), (6, 5), (7, 30), (9, 11), (40, 50)])
def test_equals_the_definition_at_any_size(size):
    first, second = torch.rand(4, *size), torch.randn(4, *size)
    expected = [naive_ssim(a.double().numpy(), b.double().numpy()) for a, b in zip(first, second, strict=True)]
    assert ssim(first, second).tolist() == pytest.approx(expected, abs=1e-6)


def test_equals_scikit_image_away_from_the_border():
    first, second = torch.rand(2, 64, 64), torch.rand(2, 64, 64)
    second[1] = first[1] + 0.1 * second[1]
    for heatmaps in (first, second):
        heatmaps[:, 0, 0], heatmaps[:, 0, 1] = 0.0, 2.0  # the range of every map: [0, 2]
    expected = [
        structural_similarity(
            a.double().numpy() / 2.0,
            b.double().numpy() / 2.0,
            data_range=1.0,
            gaussian_weights=True,
            use_sample_covariance=False,
            full=True,
        )[1]
        for a, b in zip(first, second, strict=True)
    ]
    # its border is mirrored half a pixel beside ours: the mean of the inner part, from ours by the naive definition
    inner = [naive_ssim(a.double().numpy(), b.double().numpy()) for a, b in zip(first, second, strict=True)]
    assert ssim(first, second).tolist() == pytest.approx(inner, abs=1e-6)
    assert inner == pytest.approx([e.mean() for e in expected], abs=0.01)


def test_same_different_and_opposite_maps():
    heat = torch.rand(1, 20, 20)
    assert ssim(heat, 5.0 * heat - 2.0).item() == pytest.approx(1.0)
    assert ssim(heat, heat.max() - heat).item() < -0.5
    assert abs(ssim(heat, torch.rand(1, 20, 20)).item()) < 0.2


@pytest.mark.parametrize("by", ["ssim", "spearman"])
def test_degenerate_maps_have_none(by):
    heat, flat = torch.rand(1, 8, 8), torch.full((1, 8, 8), 0.3)
    for pair in ((heat, flat), (flat, heat), (flat, flat)):
        assert math.isnan(similarity(*pair, by).item())
    together = similarity(torch.cat([heat, flat]), torch.cat([heat, heat]), by)
    assert together.tolist() == pytest.approx([1.0, math.nan], nan_ok=True)


def test_each_pair_by_itself():
    first, second = torch.rand(5, 12, 9), 100.0 * torch.rand(5, 12, 9)
    alone = torch.cat([ssim(first[[i]], second[[i]]) for i in range(5)])
    torch.testing.assert_close(ssim(first, second), alone)
