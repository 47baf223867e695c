from __future__ import annotations

import math

import pytest
import torch

from lightning_xai.functional import aopc
from lightning_xai.metrics import AOPC
from tests.metrics import _naive
from tests.metrics._harness import Batch, Entry, tiny_net
from tests.metrics.faithfulness.test_insertion_auc import Sum


def _reference(view, grid=(8, 8), baseline="uniform", order="morf", seed=0):
    values = _naive.curve(view, "deletion", baseline, grid[0] * grid[1], "random", seed, order, grid)
    return sum(values[0] - value for value in values[1:]) / len(values)


ENTRY = Entry(
    "aopc",
    ("model", "images", "heatmaps", "target"),
    _reference,
    variants=(
        {"grid": (4, 3), "order": "lerf"},
        {"grid": [2, 5], "baseline": "minimum", "seed": 7},
        {"grid": (9, 11), "baseline": 0.0},  # every pixel a region
    ),
)


def test_by_hand():
    # two regions of one pixel, hottest first: sums 3, 1, 0; the unchanged image counts in L + 1
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.1, 0.9]]])
    value = aopc(Sum(), image, heatmap, target=1, grid=(1, 2), baseline=0.0)
    f = [1 / (1 + math.exp(-s)) for s in (3.0, 1.0, 0.0)]
    assert value.item() == pytest.approx(((f[0] - f[1]) + (f[0] - f[2])) / 3, abs=1e-6)


def test_lerf_reverses_the_order():
    image, heatmap = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[0.1, 0.9]]])
    value = aopc(Sum(), image, heatmap, target=1, grid=(1, 2), baseline=0.0, order="lerf")
    f = [1 / (1 + math.exp(-s)) for s in (3.0, 2.0, 0.0)]
    assert value.item() == pytest.approx(((f[0] - f[1]) + (f[0] - f[2])) / 3, abs=1e-6)


def test_noise_is_drawn_once_per_image_and_shared_by_all_heatmaps():
    # when every region is gone, only noise is left: the last point must not depend on the heatmap
    batch, net = Batch.draw(4), tiny_net()
    curve = AOPC(grid=(3, 3)).curve
    from lightning_xai.evidence import Case

    first = Case(net, batch.images, batch.target, heatmaps=batch.heatmaps)
    second = first.with_heatmaps(batch.heatmaps.flip(1, 2))
    torch.testing.assert_close(first[curve][:, -1], second[curve][:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("grid", "error", "text"),
    [
        (8, TypeError, r"Expected `grid` to be a pair \(rows, columns\), but got 8\."),
        ((1, 2, 3), TypeError, r"Expected `grid` to be a pair \(rows, columns\), but got \(1, 2, 3\)\."),
        ((0, 8), ValueError, r"Expected `grid` to be >= 1, but got 0\."),
        ((2.0, 2), TypeError, r"Expected `grid` to be a whole number, but got float\."),
    ],
)
def test_grid_is_checked(grid, error, text):
    with pytest.raises(error, match=text):
        AOPC(grid=grid)


def test_grid_finer_than_the_image():
    with pytest.raises(ValueError, match=r"Expected `grid` to be at most the images' size \(2, 2\), but got \(8, 8\)"):
        aopc(Sum(), torch.rand(1, 1, 2, 2), torch.rand(1, 2, 2), target=1)
