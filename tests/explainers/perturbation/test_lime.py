"""LIME by value."""

import math

import numpy as np
import pytest
import torch

from lightning_xai import LIME, Classifier, KernelSHAP
from lightning_xai._segments import grid_labels, superpixels
from tests.explainers.perturbation import _naive
from tests.explainers.perturbation._probability import Additive, images, network, probability

TARGET = torch.tensor([0, 2, 1])
CPU = torch.device("cpu")


def labels_of(lime, image):
    if lime.segments == "slic":
        return superpixels(image)
    return grid_labels(tuple(image.shape[1:]), (lime.grid, lime.grid), CPU), lime.grid**2


@pytest.mark.parametrize(
    "settings",
    [
        {"grid": 4},
        {"grid": 3, "ridge": 1e-3, "kernel_width": 1.0, "baseline": 0.5, "seed": 4},
        {"segments": "slic", "num_samples": 60},
    ],
    ids=["grid", "settings", "slic"],
)
def test_equals_the_naive_least_squares_of_the_same_samples(settings):
    net, batch = network(), images(size=(32, 24))
    lime = LIME(**{"num_samples": 40, **settings})
    heatmaps = lime(net, batch, TARGET)
    for heatmap, image, target in zip(heatmaps, batch, TARGET, strict=True):
        labels, count = labels_of(lime, image)
        coalitions = lime.coalitions(count, CPU).numpy()
        f, pixels, segments = probability(net, int(target)), image.double().numpy(), labels.numpy()
        scores = [f(_naive.seen_through(pixels, segments, c, lime.baseline)) for c in coalitions]
        expected = _naive.lime(scores, coalitions, lime.kernel_width, lime.ridge)
        np.testing.assert_allclose(heatmap.numpy(), expected[segments], rtol=0, atol=2e-6)


def test_recovers_a_probability_that_is_linear_in_the_cells():
    weight = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(1)) / 400
    batch = torch.rand(2, 2, 8, 12) + 0.5
    labels = grid_labels((8, 12), (4, 4), CPU)
    heatmaps = LIME(grid=4, num_samples=600, ridge=1e-9)(Additive(weight, 0.1), batch, 1)
    for heatmap, image in zip(heatmaps, batch, strict=True):
        share = torch.zeros(16).scatter_add_(0, labels.flatten(), (weight * image).sum(0).flatten())
        torch.testing.assert_close(heatmap, share[labels], rtol=0, atol=1e-6)


def test_equals_captum_with_the_same_samples():
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    net, image, lime = network(), images(1), LIME(grid=3, num_samples=50, kernel_width=0.4, ridge=0.5)
    labels, count = labels_of(lime, image[0])
    samples = iter(lime.coalitions(count, CPU).long().split(1))

    def similarity(_, __, coalition, **kwargs):
        cosine = (coalition.float().sum() / count).sqrt()
        return torch.exp(-((1 - cosine) ** 2) / (2 * 0.4**2))

    captum = Lime(
        lambda x: net(x).softmax(1),
        interpretable_model=SkLearnRidge(alpha=0.5),
        similarity_func=similarity,
        perturb_func=lambda *_, **__: next(samples),
    )
    expected = captum.attribute(image, target=2, feature_mask=labels[None, None], n_samples=50)
    torch.testing.assert_close(lime(net, image, 2)[0], expected[0, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("explainer", [LIME(grid=3, num_samples=30), KernelSHAP(grid=2), KernelSHAP(grid=3)], ids=repr)
def test_coefficients_are_exact_where_the_probability_rounds_to_one(explainer):
    """Both models are linear in the probability: those of p − 1 are a millionth of those that a shift would give."""
    net, batch = network(), images(1)
    with torch.no_grad():
        net.fc.weight.zero_()
        net.fc.weight[1] = torch.linspace(-1, 1, net.fc.in_features)
        net.fc.bias.copy_(torch.tensor([0.0, 40.0, -50.0, -50.0]))
    surest = explainer(net, batch, 1)
    with torch.no_grad():
        net.fc.bias[1] -= 20.0
    sure = explainer(net, batch, 1)
    assert 0 < float(sure.abs().max()) < 1e-7
    torch.testing.assert_close(surest * math.exp(20.0), sure, rtol=1e-3, atol=1e-4 * float(sure.abs().max()))


def test_the_first_sample_is_the_image_and_the_others_show_half():
    seen = LIME(num_samples=2000).coalitions(196, CPU)
    assert seen.shape == (2000, 196)
    assert bool(seen[0].all())
    assert float(seen[1:].float().mean()) == pytest.approx(0.5, abs=0.005)
    assert len(seen.unique(dim=0)) == 2000


def test_the_grid_has_14_cells_per_side_if_not_said_otherwise():
    assert LIME().evaluations == 1000
    assert LIME(segments="slic").evaluations is None
    net, batch = network(), images(1, size=(28, 28))
    assert torch.equal(LIME(num_samples=30)(net, batch, 1), LIME(num_samples=30, grid=14)(net, batch, 1))


@pytest.mark.parametrize("segments", ["grid", "slic"])
def test_chunks_hold_no_more_images_than_allowed(segments):
    net, sizes = network(), []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    lime = LIME(segments, num_samples=25)
    lime(Classifier(net, chunk_size=4), images(size=(16, 16)), TARGET)
    assert max(sizes) <= 4
    assert sum(sizes) == 75


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"segments": "felzenszwalb"}, ValueError, "`segments` to be one of 'grid', 'slic'"),
        ({"grid": 0}, ValueError, "`grid` to be >= 1"),
        ({"segments": "slic", "grid": 7}, ValueError, "`grid` to be None, because superpixels have none, but got 7"),
        ({"num_samples": 1}, ValueError, "`num_samples` to be >= 2"),
        ({"baseline": "means"}, ValueError, "`baseline` to be one of .* Did you mean .mean."),
        ({"kernel_width": 0.0}, ValueError, "`kernel_width` to be > 0"),
        ({"ridge": 0}, ValueError, "`ridge` to be > 0"),
        ({"seed": 0.5}, TypeError, "`seed` to be a whole number"),
    ],
)
def test_wrong_settings_are_said(settings, error, words):
    with pytest.raises(error, match=f"Expected {words}"):
        LIME(**settings)


def test_a_grid_finer_than_the_image_is_said():
    with pytest.raises(
        ValueError, match=r"Expected `grid` to be at most the images' size \(16, 12\), but got \(14, 14\)"
    ):
        LIME()(network(), images(), 0)
