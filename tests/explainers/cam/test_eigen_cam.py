"""Eigen-CAM: the first principal component, uncentred, of one image's feature maps."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_xai import Classifier, EigenCAM
from tests._nets import ConvNet, calibrated
from tests.explainers.cam._bent import assert_close, bent, maps_of


def naive(maps):
    """Muhammad & Yeasin 2020: A v₁ by power iteration on AᵀA, the rows of A the places."""
    rows = maps.flatten(1).T.numpy()
    v = np.ones(rows.shape[1])
    for _ in range(5000):
        v = rows.T @ (rows @ v)
        v /= np.linalg.norm(v)
    projected = rows @ v
    return torch.from_numpy(projected * (1 if projected.sum() >= 0 else -1)).view(maps.shape[1:])


def test_equals_the_formula():
    net, exact, images, target = bent()
    heatmaps = EigenCAM()(net, images, target)
    for heatmap, image in zip(heatmaps, images.double(), strict=True):
        assert_close(heatmap, naive(maps_of(exact, image)), 1e-4)


def test_signed_layers_keep_their_signs_and_are_not_centred():
    net, exact, images, _ = bent()
    heatmaps = EigenCAM("conv")(net, images, 0)
    maps = exact.conv(images.double()).detach()
    for heatmap, its in zip(heatmaps, maps, strict=True):
        assert_close(heatmap, naive(its), 1e-4)
        centred = naive(its - its.mean((1, 2), keepdim=True))
        assert float((heatmap.double() - centred).abs().max()) > 0.05 * float(centred.abs().max())
    assert float(heatmaps.min()) < 0
    assert bool((heatmaps.sum((1, 2)) >= 0).all())
    assert float(EigenCAM("conv", relu=True)(net, images, 0).min()) == 0


def test_by_hand():
    images = torch.tensor([[[[3.0, -6.0]], [[4.0, -8.0]]]])  # of rank 1: (3, 4) times 1 and −2, turned over: −1 and 2
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.testing.assert_close(EigenCAM()(net, images, 0), torch.tensor([[[-5.0, 10.0]]]))
    assert EigenCAM()(net, torch.zeros(1, 2, 3, 3), 0).tolist() == torch.zeros(1, 3, 3).tolist()


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e4])
def test_unit_of_the_activations_and_the_same_for_every_class(factor):
    net, images = calibrated(ConvNet(), size=16), torch.randn(2, 3, 16, 16)
    expected = EigenCAM()(net, images, 0)
    assert torch.equal(EigenCAM()(net, images, 3), expected)
    net.features[5].weight.data *= factor
    net.features[5].bias.data *= factor
    assert_close(EigenCAM()(net, images, 0), factor * expected, 1e-4)


def test_costs_one_evaluation():
    net, _, images, target = bent()
    classifier = Classifier(net)
    EigenCAM("conv")(classifier, images, target)
    assert classifier.evaluations == 3 * EigenCAM().evaluations == 3
