from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lightning_xai._randomness import content_keys
from lightning_xai.evidence import MaskingCurve, baseline_images, gaussian_blur


def _published_kernel():
    """Return RISE's gkern(11, 5)."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    return gaussian_filter(impulse, 5)


def test_blur_is_the_published_kernel():
    impulse = torch.zeros(1, 2, 21, 25, dtype=torch.float64)
    impulse[0, 1, 10, 12] = 1.0
    blurred = gaussian_blur(impulse)
    np.testing.assert_allclose(blurred[0, 1, 5:16, 7:18].numpy(), _published_kernel(), rtol=1e-12, atol=0)
    assert blurred.sum().item() == pytest.approx(1.0, abs=1e-9)
    assert blurred[0, 0].abs().sum() == 0.0  # channels do not mix


def test_the_kernel_is_a_gaussian_whose_tails_are_mirrored_at_the_edges():
    line = np.zeros(11)
    for offset in range(-20, 21):
        place = (5 + offset) % 22
        line[place if place < 11 else 21 - place] += math.exp(-0.5 * (offset / 5.0) ** 2)
    impulse = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    impulse[0, 0, 5, 5] = 1.0
    found = gaussian_blur(impulse)[0, 0].numpy()
    np.testing.assert_allclose(found, np.outer(line, line)[::-1, ::-1] / line.sum() ** 2, rtol=1e-12)


def test_blur_equals_the_published_convolution_zero_padded():
    images = torch.randn(2, 3, 17, 14)
    kernel = torch.zeros(3, 3, 11, 11)
    for channel in range(3):
        kernel[channel, channel] = torch.from_numpy(_published_kernel())
    expected = torch.nn.functional.conv2d(images, kernel, padding=5)
    torch.testing.assert_close(gaussian_blur(images), expected, rtol=1e-5, atol=1e-6)


def _replaced(images, baseline, seed=0):
    return baseline_images(images, baseline, content_keys(images), seed=seed).expand_as(images)


def test_constants_and_statistics_are_each_images_own():
    images = torch.randn(3, 2, 4, 5)
    assert (_replaced(images, 0.25) == 0.25).all()
    for image, low, mean in zip(images, _replaced(images, "minimum"), _replaced(images, "mean"), strict=True):
        assert (low == image.min()).all()
        torch.testing.assert_close(mean, image.mean((1, 2), keepdim=True).expand_as(image))


def test_noise_covers_each_images_own_range_and_belongs_to_it():
    images = torch.randn(3, 2, 30, 30) * torch.tensor([1.0, 5.0, 0.1]).view(3, 1, 1, 1) + 2.0
    noise = _replaced(images, "uniform")
    for image, found in zip(images, noise, strict=True):
        span = image.max() - image.min()
        assert image.min() <= found.min() < image.min() + 0.01 * span
        assert image.max() - 0.01 * span < found.max() <= image.max()
    assert torch.equal(_replaced(images[[2]], "uniform")[0], noise[2])
    assert not torch.equal(_replaced(images, "uniform", seed=1), noise)


def test_noise_is_independent_of_the_order_of_ties_and_of_the_random_control():
    from lightning_xai import RandomHeatmap
    from lightning_xai.evidence import ranks

    images = torch.rand(4, 1, 40, 40)
    noise = _replaced(images, "uniform").flatten(1)
    ties = ranks(torch.zeros(4, 1600), content_keys(images)).float()
    control = RandomHeatmap(grid=None)(torch.nn.Flatten(), images, 0).flatten(1)
    for i in range(4):
        assert (
            np.abs(np.corrcoef(torch.stack([noise[i], ties[i], control[i]]).numpy())[np.triu_indices(3, 1)]).max()
            < 0.11
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("baseline", [0.5, "blur", "minimum", "mean", "uniform"])
def test_keeps_the_images_dtype(baseline, dtype):
    images = torch.rand(1, 3, 12, 12).to(dtype)
    assert baseline_images(images, baseline, content_keys(images)).dtype == dtype


@pytest.mark.parametrize("baseline", [math.nan, math.inf, True, None, (0.0, 0.0, 0.0)])
def test_baseline_is_checked(baseline):
    with pytest.raises(
        ValueError, match="Expected `baseline` to be a finite number or one of blur, minimum, mean, uni"
    ):
        MaskingCurve(baseline=baseline)


def test_a_misspelt_baseline_gets_the_nearest_match():
    with pytest.raises(ValueError, match=r"but got 'blurr'\. Did you mean 'blur'\?"):
        MaskingCurve(baseline="blurr")
