from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from lightning_xai.functional import pointing_game
from lightning_xai.metrics import PointingGame
from tests.metrics import _naive
from tests.metrics._harness import Entry


def _reference(view, tolerance=0.0):
    if not view.mask.any():
        return math.nan
    if view.heat.max() <= 0:
        return 0.0
    inside = [place for place in np.ndindex(view.mask.shape) if view.mask[place]]
    peaks = _naive.hottest(view.heat)
    hits = [peak for peak in peaks if min(math.dist(peak, place) for place in inside) <= tolerance]
    return len(hits) / len(peaks)


ENTRY = Entry(
    "pointing_game",
    ("heatmaps", "masks"),
    _reference,
    variants=({"tolerance": 1}, {"tolerance": 1.5}, {"tolerance": 3.0}),
)

MASK = torch.tensor([[[False, True, True, False]]])


@pytest.mark.parametrize(
    ("heatmap", "value"),
    [
        ([0.0, 2.0, 1.0, 0.0], 1.0),
        ([3.0, 2.0, 1.0, 0.0], 0.0),
        ([2.0, 2.0, 2.0, 1.0], 2 / 3),  # three maximal pixels, two inside
        ([1.0, 1.0, 1.0, 1.0], 0.5),  # chance
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([-2.0, -1.0, -1.0, -2.0], 0.0),
    ],
)
def test_by_hand(heatmap, value):
    assert pointing_game(torch.tensor([[heatmap]]), MASK).item() == pytest.approx(value)


@pytest.mark.parametrize("tolerance", [0, 0.5, 1, 1.4, 1.5, 2, 5, 7.3, 15])
def test_tolerance_is_euclidean_distance_to_the_mask(tolerance):
    random = np.random.default_rng(0)
    masks = np.zeros((3, 20, 31), dtype=bool)
    masks[0, 3, 4] = masks[1, :2, -3:] = True
    masks[2] = random.random((20, 31)) < 0.01
    for mask in masks:
        near = distance_transform_edt(~mask) <= tolerance
        heatmaps = torch.eye(mask.size).view(mask.size, *mask.shape)  # every pixel is the hottest once
        hits = pointing_game(heatmaps, torch.from_numpy(mask).expand_as(heatmaps), tolerance=tolerance)
        assert hits.tolist() == near.ravel().astype(float).tolist()


def test_tolerance_does_not_define_an_empty_mask():
    assert pointing_game(torch.rand(1, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool), tolerance=15).isnan().all()


@pytest.mark.parametrize(
    "make", [lambda t: PointingGame(tolerance=t), lambda t: pointing_game(MASK, MASK, tolerance=t)]
)
def test_tolerance_is_checked(make):
    with pytest.raises(ValueError, match=r"Expected `tolerance` to be >= 0\.0, but got -1\."):
        make(-1)
