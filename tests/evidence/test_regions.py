from __future__ import annotations

import pytest
import torch

from lightning_xai.evidence.regions import check_grid, grid_labels, region_means

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (224, 224), (7, 30)])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (7, 7), (5, 6)])
def test_cells_cover_the_image_and_differ_by_a_pixel_at_most(size, grid):
    labels = grid_labels(size, grid, CPU)
    rows, columns = labels // grid[1], labels % grid[1]
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    for cells, count in ((rows[:, 0], grid[0]), (columns[0], grid[1])):
        sizes = torch.bincount(cells)
        assert len(sizes) == count
        assert sizes.max() - sizes.min() <= 1
        assert (cells.diff() >= 0).all()


def test_a_grid_as_fine_as_the_image_is_its_pixels():
    assert grid_labels((2, 3), (2, 3), CPU).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("grid", [(3, 2), (2, 4)])
def test_a_finer_grid_is_refused(grid):
    with pytest.raises(ValueError, match=r"Expected `grid` to be at most the images' size \(2, 3\), but got"):
        grid_labels((2, 3), grid, CPU)


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
