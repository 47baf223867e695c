"""Heat is seen by colour-blind readers and in gray prints: lightness in CIELAB, and colours as other eyes see them."""

import numpy as np
import pytest
import torch

from lightning_xai.visualization import overlay
from lightning_xai.visualization.pictures import with_heat

BACKGROUNDS = [0, 40, 90, 128, 190, 255]
EYES = {  # Machado, Oliveira, Fernandes (2009), severity 1, for linear RGB
    "all": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ_OF_RGB = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
JUST_NOTICEABLE = 2.3  # of CIE76
CLEARLY_DIFFERENT = 10 * JUST_NOTICEABLE


def lab(pictures, eyes="all"):
    """CIELAB (D65) of sRGB colours, float (..., 3), as some eyes see them."""
    values = np.asarray(pictures, dtype=float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.asarray(EYES[eyes]).T).clip(0, 1)
    xyz = linear @ np.array(XYZ_OF_RGB).T
    ratio = xyz / np.array([0.95047, 1.0, 1.08883])
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def shades(background, first=0.0, last=1.0, signed=False):
    """Colours of 21 strengths of heat on an even background."""
    heat = torch.linspace(first, last, 21)[None, None]
    return with_heat(torch.full((1, 1, 21, 3), background, dtype=torch.uint8), heat, signed=signed)[0, 0].numpy()


def test_lightness_of_known_colours():
    found = lab([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]])[:, 0]
    np.testing.assert_allclose(found, [100, 0, 53.24, 32.30], atol=0.01)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_more_heat_is_lighter_on_every_image(background, eyes):
    lightness = lab(shades(background), eyes)[:, 0]
    assert np.diff(lightness).min() > -JUST_NOTICEABLE / 3
    assert lightness[-1] - lightness[0] > 30


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_both_signs_get_lighter_and_are_equally_light(background):
    against, for_it = (lab(shades(background, 0.0, end, signed=True))[:, 0] for end in (-1.0, 1.0))
    for lightness in (against, for_it):
        assert np.diff(lightness).min() > -JUST_NOTICEABLE / 3
        assert lightness[-1] - lightness[0] > 10
    assert np.abs(against - for_it).max() < 4


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_signs_are_told_apart_by_all_eyes(background, eyes):
    against, for_it = (lab(shades(background, 0.0, end, signed=True), eyes) for end in (-1.0, 1.0))
    distance = np.linalg.norm(against - for_it, axis=-1)
    assert distance[-1] > CLEARLY_DIFFERENT
    assert distance[10] > CLEARLY_DIFFERENT / 2


@pytest.mark.parametrize("eyes", EYES)
def test_a_quarter_of_the_heat_is_noticed(eyes):
    for background in BACKGROUNDS:
        colors = lab(shades(background), eyes)[::5]
        assert np.linalg.norm(np.diff(colors, axis=0), axis=-1).min() > 3 * JUST_NOTICEABLE


def test_the_former_colours_are_not_monotone_and_the_new_ones_are_the_default():
    image, heat = torch.full((1, 3, 1, 21), 0.5), torch.linspace(0, 1, 21).reshape(1, 1, 21)
    former = lab(overlay(image, heat, colormap="turbo", alpha=1.0)[0, 0])[:, 0]
    assert np.diff(former).min() < -3
    assert torch.equal(overlay(image, heat), overlay(image, heat, colormap="inferno", diverging="coolwarm"))


def test_the_sign_may_be_told_so_that_columns_do_not_mix():
    heat = torch.linspace(0, 1, 5)[None, None]
    pictures = torch.full((1, 1, 5, 3), 90, dtype=torch.uint8)
    assert not torch.equal(with_heat(pictures, heat, signed=True), with_heat(pictures, heat))
    assert torch.equal(with_heat(pictures, heat - 0.5, signed=True), with_heat(pictures, heat - 0.5))
