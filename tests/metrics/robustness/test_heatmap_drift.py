from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lightning_xai.evidence.heat import compact
from lightning_xai.functional import heatmap_drift
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _kept(heat, size):
    pooled = _naive.average_pool(heat, size)
    peak = np.abs(pooled).max()
    return (pooled / peak if peak > 0 else pooled).astype(np.float16).astype(np.float64)


def _reference(view):
    size = tuple(min(side, 56) for side in view.previous.shape)
    now, before = _kept(view.heat, size).ravel(), _kept(view.previous, size).ravel()
    if now.min() == now.max() or before.min() == before.max():
        return math.nan
    return 1.0 - spearmanr(now, before).statistic


ENTRY = Entry("heatmap_drift", ("heatmaps", "previous_heatmaps"), _reference)


@pytest.mark.parametrize(
    ("now", "before", "drift"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 0.0),
        ([1.0, 2.0, 3.0], [10.0, 20.0, 21.0], 0.0),  # ranks only
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 2.0),
        ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], 0.5),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], math.nan),
        ([1.0, 2.0, 3.0], [math.nan] * 3, math.nan),
    ],
)
def test_by_hand(now, before, drift):
    value = heatmap_drift(torch.tensor([[now]]), torch.tensor([[before]]))
    assert value.item() == pytest.approx(drift, abs=1e-6, nan_ok=True)


def test_two_rectified_maps_of_few_hot_pixels_are_unrelated():
    # average ranks: the shared zeros do not correlate
    random = torch.Generator().manual_seed(0)
    now, before = (torch.randn(64, 20, 20, generator=random) for _ in range(2))
    drift = heatmap_drift((now - 1.0).relu(), (before - 1.0).relu())
    assert abs(drift.mean().item() - 1.0) < 0.02


def test_what_is_kept_scores_like_the_map_itself():
    heatmaps = torch.rand(3, 112, 130)
    kept = compact(heatmaps)
    assert kept.shape == (3, 56, 56)
    assert kept.dtype == torch.float16
    assert kept.float().amax((1, 2)).tolist() == [1.0] * 3
    other = torch.rand(3, 112, 130)
    torch.testing.assert_close(heatmap_drift(other, kept), heatmap_drift(other, heatmaps), rtol=0, atol=1e-6)
    assert heatmap_drift(heatmaps, kept).abs().max() < 1e-6


def test_small_maps_keep_their_size():
    assert compact(torch.rand(2, 7, 9)).shape == (2, 7, 9)


@pytest.mark.parametrize(
    ("previous", "error", "text"),
    [
        (3, TypeError, r"Expected `previous_heatmaps` to be a floating-point Tensor \(N, h, w\), but got int\."),
        (torch.ones(2, 1, 3).int(), TypeError, r"floating-point Tensor \(N, h, w\), but got torch\.int32\."),
        (torch.ones(1, 1, 3), ValueError, r"`previous_heatmaps` to have shape \(2, h, w\), but got \(1, 1, 3\)\."),
        (torch.ones(2, 3), ValueError, r"`previous_heatmaps` to have shape \(2, h, w\), but got \(2, 3\)\."),
        (torch.ones(2, 1, 3, device="meta"), ValueError, r"Expected `previous_heatmaps` on cpu"),
    ],
)
def test_previous_heatmaps_are_checked(previous, error, text):
    with pytest.raises(error, match=text):
        heatmap_drift(torch.rand(2, 1, 3), previous)
