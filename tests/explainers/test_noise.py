"""The noise that explainers add."""

import pytest
import torch

from lightning_xai.explainers.noise import noisy_copy

IMAGES = torch.rand(3, 3, 40, 40) * torch.tensor([1.0, 2.0, 8.0])[:, None, None, None]


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_mean_and_spread_follow_each_image_s_range(noise):
    added = noisy_copy(IMAGES, 0.1, seed=3, sample=2, noise=noise) - IMAGES
    spread = IMAGES.amax((1, 2, 3)) - IMAGES.amin((1, 2, 3))
    relative = added / spread[:, None, None, None]
    assert float(relative.mean().abs()) < 0.005
    assert float(relative.std()) == pytest.approx(0.1, rel=0.03)
    torch.testing.assert_close(relative[0], relative[2], rtol=1e-3, atol=1e-5)  # the same noise for every image
    limit = 0.1 * 3**0.5
    assert (float(relative.abs().max()) <= limit + 1e-5) is (noise == "uniform")


def test_it_belongs_to_seed_and_sample_and_to_nothing_else():
    one = noisy_copy(IMAGES, 0.1, seed=3, sample=2)
    assert torch.equal(noisy_copy(IMAGES[1:2], 0.1, seed=3, sample=2), one[1:2])
    assert not torch.equal(noisy_copy(IMAGES, 0.1, seed=4, sample=2), one)
    assert not torch.equal(noisy_copy(IMAGES, 0.1, seed=3, sample=1), one)
    assert torch.equal(noisy_copy(IMAGES, 0.0, seed=3, sample=2), IMAGES)
    assert noisy_copy(IMAGES.bfloat16(), 0.1, seed=3, sample=2).dtype == torch.bfloat16


def test_a_constant_image_gets_none():
    assert torch.equal(noisy_copy(torch.ones(1, 3, 4, 4), 0.5, seed=0, sample=0), torch.ones(1, 3, 4, 4))
