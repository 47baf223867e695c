from __future__ import annotations

import pytest
import torch

from lightning_xai._segments import grid_labels
from lightning_xai.evidence.masking.segments import check_grid, region_means

CPU = torch.device("cpu")


def test_means_by_hand():
    heatmaps = torch.tensor([[[1.0, 2.0, 6.0], [3.0, 0.0, -2.0]]])
    shared = torch.tensor([[0, 0, 1], [0, 0, 1]])
    assert region_means(heatmaps, shared, 2).tolist() == [[1.5, 2.0]]
    own = torch.tensor([[[2, 2, 2], [0, 0, 2]]])
    assert region_means(heatmaps, own, 3).tolist() == [[1.5, -torch.inf, 1.75]]


def test_means_on_an_uneven_grid_equal_slices():
    heatmaps = torch.randn(3, 9, 11)
    means = region_means(heatmaps, grid_labels((9, 11), (2, 3), CPU), 6)
    assert torch.allclose(means[:, 0], heatmaps[:, :5, :4].mean((1, 2)))
    assert torch.allclose(means[:, 5], heatmaps[:, 5:, 8:].mean((1, 2)))


def test_grid_becomes_a_tuple():
    assert check_grid([2, 3]) == (2, 3)
    with pytest.raises(TypeError, match=r"Expected `grid` to be a pair \(rows, columns\), but got '8x8'\."):
        check_grid("8x8")
