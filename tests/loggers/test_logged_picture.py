import numpy as np
import pytest
import torch

from lightning_xai.loggers import LoggedPicture


def test_pixels_are_the_picture(picture):
    for version in (picture, picture.flip(0).flip(0), picture.transpose(0, 1).contiguous().transpose(0, 1)):
        pixels = LoggedPicture("grid", version).pixels
        assert pixels.dtype == np.uint8
        assert pixels.flags["C_CONTIGUOUS"]
        assert np.array_equal(pixels, picture.numpy())


@pytest.mark.parametrize("name", ["", "/grid", "xai//grid", "xai/", "../grid", "xai/./grid", " "])
def test_names_must_be_paths(name, picture):
    with pytest.raises(ValueError, match=r"Expected `name` to be words separated by slashes, .* but got"):
        LoggedPicture(name, picture)


def test_pictures_must_be_eight_bit_and_channels_last(picture):
    with pytest.raises(TypeError, match=r"`picture` to have dtype torch\.uint8, but got torch\.float32"):
        LoggedPicture("grid", picture.float())
    with pytest.raises(ValueError, match=r"`picture` to have shape \(H, W, 3\), but got \(3, 6, 9\)"):
        LoggedPicture("grid", picture.permute(2, 0, 1))
    with pytest.raises(ValueError, match=r"`picture` to have shape \(H, W, 3\), but got \(1, 6, 9, 3\)"):
        LoggedPicture("grid", torch.stack([picture]))
