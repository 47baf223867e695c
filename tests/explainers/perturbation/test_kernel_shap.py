"""KernelSHAP by value."""

import math

import numpy as np
import pytest
import torch

from lightning_xai import Classifier, KernelSHAP
from lightning_xai._segments import grid_labels, superpixels
from tests.explainers.perturbation import _naive
from tests.explainers.perturbation._probability import Additive, images, network, probability

TARGET = torch.tensor([0, 2, 1])
CPU = torch.device("cpu")


def additive(size, cells):
    """Return a model, images, and what each cell adds to the probability, (2, cells²)."""
    weight = torch.rand(2, *size, generator=torch.Generator().manual_seed(1)) / (3 * size[0] * size[1])
    batch = torch.rand(2, 2, *size) + 0.5
    labels = grid_labels(size, (cells, cells), CPU)
    parts = (weight * (batch - 0.2)).sum(1).flatten(1)
    share = torch.zeros(2, cells**2).scatter_add_(1, labels.flatten().expand(2, -1), parts)
    return Additive(weight, 0.1), batch, labels, share


@pytest.mark.parametrize(("size", "cells", "samples"), [((28, 28), 14, 500), ((9, 7), 2, 500), ((16, 12), 5, 60)])
def test_an_additive_probability_is_shared_exactly(size, cells, samples):
    model, batch, labels, share = additive(size, cells)
    heatmaps = KernelSHAP(grid=cells, num_samples=samples, baseline=0.2)(model, batch, 1)
    torch.testing.assert_close(heatmaps, share[:, labels], rtol=0, atol=3e-6)


@pytest.mark.parametrize("samples", [16, 500])
def test_of_few_segments_are_the_shapley_values(samples):
    net, batch = network(), images()
    heatmaps = KernelSHAP(grid=2, num_samples=samples, baseline=0.3)(net, batch, TARGET)
    labels = grid_labels((16, 12), (2, 2), CPU).numpy()
    for heatmap, image, target in zip(heatmaps, batch, TARGET, strict=True):
        f, pixels = probability(net, int(target)), image.double().numpy()
        expected = _naive.shapley(lambda c, f=f, pixels=pixels: f(_naive.seen_through(pixels, labels, c, 0.3)), 4)
        np.testing.assert_allclose(heatmap.numpy(), expected[labels], rtol=0, atol=1e-6)


def test_drawn_coalitions_equal_the_naive_least_squares():
    net, batch, shap = network(), images(), KernelSHAP(grid=3, num_samples=60, seed=2)
    labels = grid_labels((16, 12), (3, 3), CPU)
    coalitions = shap.coalitions(9, CPU).numpy()
    heatmaps = shap(net, batch, TARGET)
    for heatmap, image, target in zip(heatmaps, batch, TARGET, strict=True):
        f, pixels = probability(net, int(target)), image.double().numpy()
        scores = [f(_naive.seen_through(pixels, labels.numpy(), c, 0.0)) for c in coalitions]
        expected = _naive.kernel_shap(scores, coalitions)
        np.testing.assert_allclose(heatmap.numpy(), expected[labels], rtol=0, atol=2e-6)


def test_equals_captum_with_the_same_samples():
    from captum.attr import KernelShap

    net, image, shap = network(), images(1), KernelSHAP(grid=3, num_samples=80)
    labels = grid_labels((16, 12), (3, 3), CPU)
    samples = iter(shap.coalitions(9, CPU).long().split(1))
    captum = KernelShap(lambda x: net(x).softmax(1))
    captum.perturb_func = lambda *_, **__: next(samples)
    expected = captum.attribute(image, target=1, feature_mask=labels[None, None], n_samples=80)
    torch.testing.assert_close(shap(net, image, 1)[0], expected[0, 0], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"grid": 3, "num_samples": 40},
        {"grid": 5, "num_samples": 12},
        {"segments": "slic", "num_samples": 30},
        {"grid": 2},
    ],
    ids=str,
)
def test_values_sum_to_what_the_image_adds(settings):
    net, batch, shap = network(), images(size=(32, 24)), KernelSHAP(baseline=0.1, **settings)
    heatmaps = shap(net, batch, TARGET)
    for heatmap, image, target in zip(heatmaps, batch, TARGET, strict=True):
        f, grid = probability(net, int(target)), settings.get("grid")
        gained = f(image.double().numpy()) - f(np.full((3, 32, 24), 0.1))
        labels, count = (grid_labels((32, 24), (grid, grid), CPU), grid**2) if grid else superpixels(image)
        assert count > 3
        values = [heatmap[labels == segment] for segment in range(count)]
        assert all(bool((value == value[0]).all()) for value in values)
        assert float(sum(value[0] for value in values)) == pytest.approx(gained, abs=1e-6)


def test_sizes_are_drawn_from_the_shapley_kernel_and_segments_evenly():
    seen = KernelSHAP(num_samples=20002).coalitions(6, CPU)
    assert len(seen) == 64  # all of them: few enough
    shap = KernelSHAP(num_samples=20002)
    seen = shap.coalitions(20, CPU)[1:-1]
    weights = np.array([1 / (k * (20 - k)) for k in range(1, 20)])
    found = torch.bincount(seen.sum(1), minlength=21)[1:20].numpy() / 20000
    np.testing.assert_allclose(found, weights / weights.sum(), atol=4 * math.sqrt(0.15 * 0.85 / 20000))
    assert float((seen.float().mean(0) - 0.5).abs().max()) < 0.02
    both = shap.coalitions(20, CPU)
    assert not bool(both[0].any())
    assert bool(both[-1].all())


def test_counts():
    assert KernelSHAP().evaluations == 500
    assert KernelSHAP(grid=2).evaluations == 16
    assert KernelSHAP(grid=3, num_samples=512).evaluations == 512
    assert KernelSHAP(segments="slic").evaluations is None
    classifier = Classifier(network(), chunk_size=5)
    KernelSHAP(grid=2)(classifier, images(), TARGET)
    assert classifier.evaluations == 3 * 16


def test_one_segment_gets_everything():
    net, batch = network(), images()
    heatmaps = KernelSHAP(grid=1)(net, batch, 2)
    for heatmap, image in zip(heatmaps, batch, strict=True):
        f = probability(net, 2)
        gained = f(image.double().numpy()) - f(np.zeros((3, 16, 12)))
        torch.testing.assert_close(heatmap, torch.full((16, 12), gained), rtol=0, atol=1e-6)


def test_too_few_samples_are_said():
    with pytest.raises(ValueError, match="Expected `num_samples` to be >= 3, but got 2"):
        KernelSHAP(num_samples=2)
