import pytest
import torch

from lightning_xai.model.layer.capture import feature_maps


def numbered(height, width, channels=5):
    """Feature maps whose values tell channel and place."""
    return torch.arange(2.0 * channels * height * width).view(2, channels, height, width)


@pytest.mark.parametrize(
    ("grid", "image_size", "channels"),
    [
        ((7, 7), (224, 224), 768),
        ((56, 56), (224, 224), 96),
        ((56, 56), (224, 224), 64),
        ((56, 56), (224, 224), 48),
        ((8, 8), (32, 32), 3),
        ((7, 14), (224, 448), 320),
        ((6, 10), (96, 160), 32),
        ((4, 10), (100, 300), 64),
        ((2, 3), (33, 47), 17),
    ],
)
def test_both_orders_of_axes_give_the_same_maps(grid, image_size, channels):
    maps = numbered(*grid, channels)
    assert torch.equal(feature_maps(maps, image_size), maps)
    assert torch.equal(feature_maps(maps.permute(0, 2, 3, 1).contiguous(), image_size), maps)


@pytest.mark.parametrize("side", [1, 7, 56])
def test_as_many_channels_as_places_on_a_side_are_read_channels_first(side):
    maps = numbered(side, side, side)
    assert feature_maps(maps, (224, 224)) is maps


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize(
    ("grid", "image_size"),
    [
        ((14, 14), (224, 224)),
        ((16, 16), (224, 224)),
        ((7, 7), (224, 224)),
        ((24, 24), (384, 384)),
        ((14, 28), (224, 448)),
        ((12, 8), (192, 128)),
        ((6, 9), (100, 150)),
        ((13, 21), (220, 350)),
        ((14, 22), (220, 350)),
    ],
)
def test_tokens_fill_the_grid_row_by_row_without_what_precedes_them(grid, image_size, prefix):
    maps = numbered(*grid)
    tokens = torch.cat([torch.full((2, prefix, 5), -1.0), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(feature_maps(tokens, image_size), maps)


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("side", [2, 3, 4])
def test_small_grids(side, prefix):
    maps = numbered(side, side)
    tokens = torch.cat([torch.full((2, prefix, 5), -1.0), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(feature_maps(tokens, (32, 32)), maps)


@pytest.mark.parametrize("size", [(2, 5), (2, 99, 8), (2, 3, 4, 5, 6), (2,)])
def test_what_fills_no_grid_is_said(size):
    wanted = r"Expected `target_layer` to hold feature maps .* but the output of `fc` holds \(2"
    with pytest.raises(ValueError, match=wanted):
        feature_maps(torch.zeros(size), (224, 224), "the output of `fc`")
