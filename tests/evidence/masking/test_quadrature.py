"""Ten points tell the area of a smooth curve."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai import DeletionAUC, InsertionAUC, InsertionDeletion, PixelFlipping, RelativeFaithfulness
from lightning_xai.evidence import Case, MaskingCurve
from lightning_xai.evidence.masking.quadrature import NUM_NODES, _free_nodes, radau
from lightning_xai.functional import insertion_deletion
from tests.metrics import _naive

SIZES = [64, 99, 192, 784, 4096, 224 * 224, 1000 * 1000]


def shares_and_weights(num_segments):
    rule = radau(num_segments)
    return np.array(rule.num_changed) / num_segments, np.array(rule.weights)


def test_nodes_and_weights_are_those_of_the_closed_form_in_fifty_digits():
    mpmath.mp.dps = 50

    def polynomial(x):  # (P₁₀ + P₁₁) / (1 + x), whose zeros are the free nodes
        return (mpmath.legendre(10, x) + mpmath.legendre(11, x)) / (1 + x)

    for node in _free_nodes():
        zero = mpmath.findroot(polynomial, 2 * float(node) - 1)
        assert float((zero + 1) / 2) == pytest.approx(float(node), abs=1e-14)
        weight = (1 - zero) / (2 * (11 * mpmath.legendre(10, zero)) ** 2)  # on [0, 1]
        index = int(np.abs(np.array(radau(10**9).num_changed) / 1e9 - node).argmin())
        assert radau(10**9).weights[index] == pytest.approx(float(weight), abs=1e-7)
    assert radau(10**9).weights[0] == pytest.approx(1 / 121, abs=1e-7)


@pytest.mark.parametrize("num_segments", SIZES)
def test_rounded_rules_are_exact_up_to_degree_ten_and_nearly_up_to_twenty(num_segments):
    shares, weights = shares_and_weights(num_segments)
    assert len(shares) == NUM_NODES + 1
    assert shares[0] == 0 < weights.min()
    for degree in range(21):
        error = (weights * shares**degree).sum() - 1 / (degree + 1)
        assert abs(error) < (1e-12 if degree <= 10 else 0.02 / num_segments)
    assert abs((weights * shares**30).sum() - 1 / 31) > 1e-11 or num_segments > 1e5  # it has a degree at all


@pytest.mark.parametrize("num_segments", SIZES)
def test_rounded_rules_are_those_of_fractions(num_segments):
    nodes, weights = _naive.radau(num_segments)
    assert list(radau(num_segments).num_changed) == nodes
    assert list(radau(num_segments).weights) == pytest.approx(weights, abs=1e-11)


@pytest.mark.parametrize("num_segments", [*range(1, 120), 197, 255])
def test_few_pixels_have_fewer_points_and_weights_that_are_means(num_segments):
    shares, weights = shares_and_weights(num_segments)
    assert shares[0] == 0
    assert (np.diff(shares) > 0).all()
    assert 2 <= len(shares) <= min(NUM_NODES, num_segments) + 1
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1)
    if num_segments <= 8:
        assert len(shares) == num_segments + 1  # every point
        trapezoid = [0.5, *([1.0] * (num_segments - 1)), 0.5]
        assert (weights * num_segments).tolist() == pytest.approx(trapezoid)


WAVES = np.polynomial.Chebyshev([0.5, *([0.0] * 9), 0.4], domain=(0, 1))


class Polynomial(nn.Module):
    """The probability of class 1 is a polynomial of degree ten of the share of black pixels, between 0.1 and 0.9."""

    def forward(self, images):
        share = (images == 0).flatten(1).double().mean(1)
        probability = torch.from_numpy(WAVES(share.numpy()))
        return torch.stack([torch.zeros_like(probability), probability.logit()], 1)


@pytest.mark.parametrize("size", [(9, 11), (32, 32), (64, 48)])
@pytest.mark.parametrize("direction", ["deletion", "insertion"])
def test_areas_of_polynomial_curves_are_their_integrals(size, direction):
    case = Case(Polynomial().double(), torch.ones(2, 1, *size).double(), 1, heatmaps=torch.rand(2, *size))
    curve = MaskingCurve(direction)
    expected = float(WAVES.integ(lbnd=0)(1))
    assert case[curve].shape == (2, 11)
    assert curve.area(case).tolist() == pytest.approx([expected] * 2, abs=1e-6)
    assert MaskingCurve(direction, num_steps=10).area(case).tolist() != pytest.approx([expected] * 2, abs=1e-2)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 576, 3))
    return net.eval()


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 1, 24, 24, generator=generator), torch.rand(6, 24, 24, generator=generator)


def test_points_are_those_of_the_finest_curve_there():
    images, heatmaps = inputs()
    case = Case(network(), images, 1, heatmaps=heatmaps)
    for direction in ("deletion", "insertion"):
        curve, every = MaskingCurve(direction), MaskingCurve(direction, num_steps=576)
        points = (curve.share_changed(case)[0] * 576).round().long()
        assert points.tolist() == _naive.points(576, "radau", direction)
        torch.testing.assert_close(case[curve], case[every][:, points])
        torch.testing.assert_close(curve.area(case), every.area(case), rtol=0, atol=5e-3)


def test_the_unchanged_image_is_the_end_that_is_known():
    images, heatmaps = inputs()
    case = Case(network(), images, 1, heatmaps=heatmaps)
    clean = case.logits.softmax(1)[:, 1]
    torch.testing.assert_close(case[MaskingCurve()][:, 0], clean)
    torch.testing.assert_close(case[MaskingCurve("insertion")][:, -1], clean)
    assert MaskingCurve().share_changed(case)[0, -1] < 1 - 0.005  # all black is no point of it
    assert MaskingCurve("insertion").share_changed(case)[0, 0] > 0.005


def test_cells_are_rounded_to_cells():
    images, heatmaps = inputs()
    case = Case(network(), images, 1, heatmaps=heatmaps)
    for grid, count in (((2, 3), 6), ((8, 8), 64)):
        shares = MaskingCurve(grid=grid).share_changed(case)[0]
        assert (shares * count).tolist() == pytest.approx(list(radau(count).num_changed))
        changed = MaskingCurve(grid=grid).changed_images(case, 0, list(range(len(shares))))
        assert (changed == 0).flatten(1).double().mean(1).tolist() == pytest.approx(shares.tolist())


@pytest.mark.parametrize("metric", [InsertionAUC, DeletionAUC, PixelFlipping, InsertionDeletion, RelativeFaithfulness])
def test_it_is_the_default_and_says_what_it_costs(metric):
    assert metric().num_steps == "radau"
    curves = metric().evidence
    assert metric().evaluations() == 11 * len(curves)
    assert metric("radau").evidence == curves != metric(10).evidence


def test_the_relative_score_divides_by_the_clean_probability():
    images, heatmaps = inputs()
    net = network()
    clean = net(images).softmax(1)[:, 1]
    metric = RelativeFaithfulness()
    metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
    torch.testing.assert_close(metric.rows, insertion_deletion(net, images, heatmaps, 1) / clean)
