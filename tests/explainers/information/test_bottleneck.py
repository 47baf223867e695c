"""The bottleneck's arithmetic: noise, information, blur."""

import math

import pytest
import torch

from lightning_xai.explainers.information.bottleneck import Bottleneck, blur_matrix, divergence
from tests.explainers.information import _naive


def bottleneck(blur=0.0, active=True):
    features = torch.randn(2, 3, 4, 5) * 2 + 1
    mean, std = torch.randn(3, 4, 5), torch.rand(3, 4, 5) + 0.1
    return Bottleneck(features, mean, std, torch.full((3, 4, 5), active), blur), features, mean, std


def test_information_by_hand():
    r = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    half = torch.full_like(r, 0.5)
    bits = divergence(r, half, half) / math.log(2.0)
    expected = [(r_ * r_ / 4 + 1 / 4 - 1) / 2 / math.log(2.0) + 1.0 for r_ in (0.0, 1.0, -2.0)]
    assert bits.tolist() == pytest.approx(expected)  # -log2(1/2) = 1 bit, and what variance and mean change
    assert divergence(r, 0 * r, 0 * r + 1).tolist() == [0.0, 0.0, 0.0]


def test_information_of_an_open_bottleneck():
    """Where α is large, 1 − λ = e^−α: ½(r² − 1) + α nats."""
    opened, features, mean, std = bottleneck()
    alpha = torch.full_like(features, 40.0)
    expected = 0.5 * (((features - mean) / std) ** 2 - 1) + 40.0
    torch.testing.assert_close(opened.information(alpha), expected)
    noise = torch.randn(6, 3, 4, 5)
    for copy in opened.mixed(alpha, noise):
        torch.testing.assert_close(copy, features)


def test_a_closed_bottleneck_holds_nothing_and_is_the_noise():
    closed, features, mean, std = bottleneck(blur=1.0)
    alpha = torch.full_like(features, -40.0)
    assert float(closed.information(alpha).abs().max()) == 0.0
    noise = torch.randn(6, 3, 4, 5)
    torch.testing.assert_close(closed.mixed(alpha, noise), (mean + std * noise)[:, None].expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_information_equals_the_divergence_of_two_normal_distributions(blur):
    some, features, mean, std = bottleneck(blur)
    alpha = torch.randn(2, 3, 4, 5) * 2
    found = some.information(alpha)
    for row, image, its in zip(found, features.double(), alpha.double(), strict=True):
        passing = _naive.blurred(torch.sigmoid(its), blur)
        expected = _naive.information(image, passing, mean.double(), std.double())
        torch.testing.assert_close(row.double(), expected, rtol=1e-4, atol=1e-6)
    assert float(found.min()) >= 0


def test_what_mixing_leaves_of_a_unit_has_the_distribution_that_the_information_is_about():
    some, features, mean, std = bottleneck()
    alpha = torch.zeros_like(features)
    mixed = some.mixed(alpha, torch.randn(20000, 3, 4, 5))
    torch.testing.assert_close(mixed.mean(0), (features + mean) / 2, rtol=0, atol=0.04)
    torch.testing.assert_close(mixed.std(0), (std / 2).expand(2, -1, -1, -1), rtol=0.04, atol=0)


def test_units_that_no_image_activates_stay_zero():
    dead, features, _, _ = bottleneck(active=False)
    alpha = torch.zeros_like(features)
    assert not bool(dead.information(alpha).any())
    assert not bool(dead.mixed(alpha, torch.randn(1, 3, 4, 5)).any())


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("size", [(3, 3), (4, 7), (9, 3)])
def test_blur_equals_a_convolution_with_reflected_borders(size, sigma):
    mask = torch.rand(2, *size, dtype=torch.float64)
    rows, columns = (blur_matrix(length, sigma, mask) for length in size)
    torch.testing.assert_close(rows @ mask @ columns.T, _naive.blurred(mask, sigma))


@pytest.mark.parametrize(("size", "sigma"), [(1, 1.0), (2, 1.0), (2, 3.0), (5, 0.0), (5, 4.0)])
def test_blur_keeps_a_constant_at_any_size(size, sigma):
    matrix = blur_matrix(size, sigma, torch.zeros(()))
    torch.testing.assert_close(matrix.sum(1), torch.ones(size))
    assert float(matrix.min()) >= 0
    if sigma == 0.0 or size == 1:
        assert torch.equal(matrix, torch.eye(size))
