"""The controls by value: nothing about the model, everything as said."""

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from lightning_xai import CenterHeatmap, Classifier, FakeCAM, RandomHeatmap
from lightning_xai._randomness import content_keys, uniform

IMAGES = torch.randn(6, 3, 28, 20, generator=torch.Generator().manual_seed(1))
MODEL = nn.Flatten()


class TestRandomHeatmap:
    @pytest.mark.parametrize("grid", [7, 3, None])
    def test_belongs_to_the_image_not_to_its_batch_target_or_model(self, grid):
        explainer = RandomHeatmap(grid)
        heatmaps = explainer(MODEL, IMAGES, 0)
        order = torch.tensor([5, 2, 0, 1, 4, 3])
        assert torch.equal(explainer(MODEL, IMAGES[order], 1), heatmaps[order])
        other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(1680, 2)), chunk_size=4)
        singles = [explainer(other, image[None], 1) for image in IMAGES]
        assert torch.equal(torch.cat(singles), heatmaps)
        torch.manual_seed(99)
        assert torch.equal(explainer(MODEL, IMAGES, 0), heatmaps)

    @pytest.mark.parametrize("grid", [7, None])
    def test_differs_between_images_and_seeds(self, grid):
        maps = torch.cat([RandomHeatmap(grid, seed)(MODEL, IMAGES, 0) for seed in (0, 1)]).flatten(1)
        assert len(maps.unique(dim=0)) == 12
        correlation = torch.corrcoef(maps) - torch.eye(12)
        assert float(correlation.abs().max()) < (0.7 if grid else 0.2)

    def test_every_pixel_is_uniform_without_a_grid(self):
        values = RandomHeatmap(None)(MODEL, torch.randn(40, 1, 32, 32), 0)
        assert stats.kstest(values.flatten().numpy(), "uniform").pvalue > 1e-3
        assert float(values.mean((1, 2)).std()) == pytest.approx((1 / 12) ** 0.5 / 32, rel=0.3)

    def test_the_grid_s_cells_are_uniform_and_upsampled(self):
        images = torch.randn(300, 1, 14, 14)
        cells = uniform(content_keys(images), (7, 7), seed=5)
        assert stats.kstest(cells.flatten().numpy(), "uniform").pvalue > 1e-3
        expected = F.interpolate(cells[:, None], (14, 14), mode="bilinear", align_corners=False)[:, 0]
        assert torch.equal(RandomHeatmap(seed=5)(MODEL, images, 0), expected)

    @pytest.mark.parametrize(
        ("grid", "error"), [(0, ValueError), (-1, ValueError), (7.0, TypeError), (True, TypeError)]
    )
    def test_a_wrong_grid_is_said(self, grid, error):
        with pytest.raises(error, match="Expected `grid` to be "):
            RandomHeatmap(grid)


class TestCenterHeatmap:
    @pytest.mark.parametrize("size", [(8, 8), (7, 9), (28, 20), (1, 5)])
    @pytest.mark.parametrize("sigma", [0.25, 0.1])
    def test_is_the_gaussian_around_the_centre(self, size, sigma):
        heatmap = CenterHeatmap(sigma)(MODEL, torch.zeros(2, 1, *size), 0)
        expected = torch.tensor(
            [
                [-((((i + 0.5) / size[0] - 0.5) ** 2 + ((j + 0.5) / size[1] - 0.5) ** 2) / (2 * sigma**2))]
                for i in range(size[0])
                for j in range(size[1])
            ]
        )
        torch.testing.assert_close(heatmap[0], expected.exp().view(size))
        assert torch.equal(heatmap[0], heatmap[1])

    def test_is_symmetric_and_its_peak_is_one_at_an_odd_size(self):
        heatmap = CenterHeatmap()(MODEL, torch.zeros(1, 1, 9, 7), 0)[0]
        torch.testing.assert_close(heatmap, heatmap.flip(0))
        torch.testing.assert_close(heatmap, heatmap.flip(1))
        assert float(heatmap[4, 3]) == float(heatmap.max()) == 1.0
        assert float(heatmap.min()) > 0

    def test_keeps_its_precision_whatever_the_default_dtype(self):
        expected = CenterHeatmap()(MODEL, torch.zeros(1, 1, 9, 7), 0)
        torch.set_default_dtype(torch.bfloat16)
        try:
            heatmap = CenterHeatmap()(MODEL, torch.zeros(1, 1, 9, 7, dtype=torch.float32), 0)
        finally:
            torch.set_default_dtype(torch.float32)
        assert torch.equal(heatmap, expected)

    @pytest.mark.parametrize(("sigma", "error"), [(0.0, ValueError), (-1, ValueError), ("a", TypeError)])
    def test_a_wrong_sigma_is_said(self, sigma, error):
        with pytest.raises(error, match="Expected `sigma` to be "):
            CenterHeatmap(sigma)


def test_fake_cam_is_one_but_for_the_first_pixel():
    heatmaps = FakeCAM()(MODEL, IMAGES, 0)
    assert heatmaps.shape == (6, 28, 20)
    assert bool((heatmaps[:, 0, 0] == 0).all())
    assert bool((heatmaps.flatten(1)[:, 1:] == 1).all())


@pytest.mark.parametrize("control", [RandomHeatmap(), CenterHeatmap(), FakeCAM()], ids=lambda c: c.alias)
def test_a_change_of_one_heatmap_changes_no_other(control):
    heatmaps = control(MODEL, IMAGES, 0)
    expected = heatmaps[1].clone()
    heatmaps[0] += 1
    assert torch.equal(heatmaps[1], expected)
    assert torch.equal(control(MODEL, IMAGES, 0)[1], expected)
