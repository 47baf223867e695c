import numpy as np
import pytest
import torch
from matplotlib import colormaps

from lightning_xai.visualization import overlay

DARKENED = 0.45  # of an image's brightness, below the heat


def test_the_coldest_pixel_keeps_the_gray_and_the_hottest_is_the_last_colour():
    images, heatmaps = torch.full((1, 3, 4, 4), 0.5), torch.linspace(0, 1, 16).reshape(1, 4, 4)
    picture = overlay(images, heatmaps)
    assert picture[0, 0, 0].tolist() == [58, 58, 58]
    hottest = 0.2 * 57.6 + 0.8 * np.array(colormaps["inferno"](255)[:3]) * 255
    np.testing.assert_allclose(picture[0, 3, 3].numpy(), hottest, atol=0.6)


def test_zero_and_constant_maps_leave_the_dark_gray_image():
    torch.manual_seed(0)
    images = torch.rand(3, 3, 5, 5)
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    gray = (DARKENED * ((images * 255).round() * weights).sum(dim=1)).round().to(torch.uint8)
    maps = torch.stack([torch.zeros(5, 5), torch.ones(5, 5), torch.full((5, 5), -3.0)])
    for scale in ("image", "shared", 1.0):
        assert torch.equal(overlay(images, maps, scale=scale), gray.unsqueeze(-1).expand(-1, -1, -1, 3))


def test_blending_by_hand():
    images, heatmaps = torch.zeros(1, 3, 1, 3), torch.tensor([[[0.0, 0.5, 1.0]]])
    images[..., 1] = 1.0
    picture = overlay(images, heatmaps, alpha=0.5, colormap="viridis")[0, 0].numpy()
    colors = np.array([colormaps["viridis"](index)[:3] for index in (0, 128, 255)]) * 255
    opacity = 0.5 * np.array([0.0, 0.5, 1.0])[:, None] ** 0.7
    gray = DARKENED * np.array([0.0, 255.0, 0.0])[:, None]
    np.testing.assert_allclose(picture, gray + opacity * (colors - gray), atol=0.51)


def test_opacity_grows_with_heat_and_the_image_stays_visible():
    images = torch.cat([torch.zeros(1, 1, 1, 11), torch.ones(1, 1, 1, 11)])
    heatmaps = torch.linspace(0, 1, 11).expand(2, 1, 11)
    black, white = overlay(images, heatmaps).float()
    contrast = (white - black)[0, :, 0]
    assert bool((contrast.diff() < 0).all())
    assert contrast[0] == 115
    assert 20 < contrast[-1] < 26  # a fifth of it is left below the strongest heat


def test_signed_maps_are_blue_below_zero_and_red_above():
    picture = overlay(torch.full((1, 1, 1, 5), 0.5), torch.tensor([[[-2.0, -1.0, 0.0, 1.0, 2.0]]]))[0, 0].int()
    difference = (picture[:, 0] - picture[:, 2]).tolist()
    assert difference[0] < difference[1] < difference[2] == 0 < difference[3] < difference[4]
    assert picture[2].tolist() == [58, 58, 58]


def test_scales():
    images, maps = torch.full((2, 1, 1, 2), 0.5), torch.tensor([[[0.0, 1.0]], [[0.0, 4.0]]])
    alone, shared, fixed = (overlay(images, maps, scale=scale)[:, 0, 1] for scale in ("image", "shared", 8.0))
    assert torch.equal(alone[0], alone[1])
    assert torch.equal(shared[1], alone[1])
    assert not torch.equal(shared[0], alone[0])
    assert torch.equal(fixed[1], overlay(images, maps * 2, scale=16.0)[1, 0, 1])


def test_normalised_images_are_shown_as_they_were():
    images = torch.rand(1, 3, 3, 3)
    zero = torch.zeros(1, 3, 3)
    assert torch.equal(overlay((images - 0.4) / 0.2, zero, mean=0.4, std=0.2), overlay(images, zero))


def test_errors():
    images, maps = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8)
    with pytest.raises(ValueError, match=r"`heatmaps` .* match `images` .* got \(2, 4, 4\) for images \(2, 3, 8, 8\)"):
        overlay(images, maps[:, :4, :4])
    with pytest.raises(ValueError, match=r"`alpha` to lie in \[0, 1\], but got 1.5"):
        overlay(images, maps, alpha=1.5)
    with pytest.raises(ValueError, match=r'but got "viridiss"\. Did you mean "viridis"\?'):
        overlay(images, maps, colormap="viridiss")
