"""Cells of a grid and superpixels."""

import sys

import numpy as np
import pytest
import torch
from skimage.segmentation import slic

from lightning_xai._segments import check_grid, grid_labels, segment_means, superpixels

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


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_superpixels_are_slic_of_the_scaled_image(channels):
    coarse = torch.randn(1, channels, 4, 3, generator=torch.Generator().manual_seed(channels))
    image = torch.nn.functional.interpolate(coarse, (32, 24), mode="bilinear")[0]
    pixels = image.permute(1, 2, 0).numpy()
    scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    expected = slic(scaled, 12, 10.0, convert2lab=channels == 3, start_label=0, channel_axis=-1)
    labels, count = superpixels(image)
    assert count == len(np.unique(expected)) > 1
    assert labels.unique().tolist() == list(range(count))
    pairs = set(zip(labels.flatten().tolist(), expected.flatten().tolist(), strict=True))
    assert len(pairs) == count  # the same segments, numbered without gaps


def test_a_constant_image_has_superpixels():
    labels, count = superpixels(torch.zeros(3, 16, 16))
    assert labels.shape == (16, 16)
    assert int(labels.max()) + 1 == count


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-xai\[superpixels\]'"):
        superpixels(torch.zeros(3, 16, 16))


def test_means_by_hand():
    heatmaps = torch.tensor([[[1.0, 2.0, 6.0], [3.0, 0.0, -2.0]]])
    shared = torch.tensor([[0, 0, 1], [0, 0, 1]])
    assert segment_means(heatmaps, shared, 2).tolist() == [[1.5, 2.0]]
    own = torch.tensor([[[2, 2, 2], [0, 0, 2]]])
    assert segment_means(heatmaps, own, 3).tolist() == [[1.5, -torch.inf, 1.75]]


def test_means_on_an_uneven_grid_equal_slices():
    heatmaps = torch.randn(3, 9, 11)
    means = segment_means(heatmaps, grid_labels((9, 11), (2, 3), CPU), 6)
    assert torch.allclose(means[:, 0], heatmaps[:, :5, :4].mean((1, 2)))
    assert torch.allclose(means[:, 5], heatmaps[:, 5:, 8:].mean((1, 2)))


def test_grid_becomes_a_tuple():
    assert check_grid([2, 3]) == (2, 3)
    with pytest.raises(TypeError, match=r"Expected `grid` to be a pair \(rows, columns\), but got '8x8'\."):
        check_grid("8x8")
