"""Smooth Grad-CAM++: means of powers before the quotient, clean activations, no pole and no underflow."""

import pytest
import torch

from lightning_xai import Classifier, GradCAMPlusPlus, SmoothGradCAMPlusPlus
from lightning_xai._randomness import normal
from lightning_xai.explainers.cam.smooth_grad_cam_plus_plus import _GradientMoments
from tests._nets import FlattenNet
from tests.explainers.cam import _naive
from tests.explainers.cam._bent import assert_close, bent, gradient_of, maps_of

SAMPLES = 6


def noisy(image, sample, level=0.15, seed=0):
    drawn = normal(torch.zeros(1, dtype=torch.int64), tuple(image.shape), seed=seed, sample=sample)[0]
    return image.double() + level * float(image.max() - image.min()) * drawn.double()


def weights(activations, gradients):
    """Omeiza et al. 2019, eq. 8: python loops; `gradients` holds one (C, h, w) per sample."""
    count, found = len(gradients), []
    for k, plane in enumerate(activations.tolist()):
        total = max(0.0, sum(map(sum, plane)))
        weight = 0.0
        for i in range(len(plane)):
            for j in range(len(plane[0])):
                first, second, third = (sum(float(g[k, i, j]) ** p for g in gradients) / count for p in (1, 2, 3))
                if second > 0:
                    weight += second / (2 * second + total * max(0.0, third)) * max(0.0, first)
        found.append(weight)
    return found


@pytest.mark.parametrize("relu", [True, False])
def test_equals_the_formula(relu):
    net, exact, images, target = bent()
    heatmaps = SmoothGradCAMPlusPlus(num_samples=SAMPLES, relu=relu, seed=7)(net, images, target)
    for heatmap, image, label in zip(heatmaps, images, target.tolist(), strict=True):
        gradients = [gradient_of(exact, noisy(image, s, seed=7), label) for s in range(SAMPLES)]
        activations = maps_of(exact, image.double())
        expected = _naive.weighted_sum(activations, weights(activations, gradients))
        assert_close(heatmap, expected.relu() if relu else expected)


def test_the_samples_gradients_differ_or_this_would_be_grad_cam_plus_plus():
    net, _, images, target = bent()
    smooth = SmoothGradCAMPlusPlus(num_samples=SAMPLES)(net, images, target)
    plain = GradCAMPlusPlus()(net, images, target)
    assert float((smooth - plain).abs().max()) > 0.05 * float(plain.abs().max())
    assert_close(SmoothGradCAMPlusPlus(num_samples=2, noise_level=0.0)(net, images, target), plain)


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e-16])
def test_tiny_gradients_do_not_underflow(scale):
    """g³ of 1e-16 is 1e-48, below float32; the weights are linear in such gradients, for S_k g vanishes beside 2."""
    net, _, images, target = bent()
    maps = {}
    for factor in (scale, scale / 4):
        scaled = FlattenNet()
        scaled.load_state_dict({"conv.weight": net.conv.weight, "conv.bias": net.conv.bias}, strict=False)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            scaled.fc.weight.data = 1e-3 * factor * torch.randn(3, 5 * 64)
        maps[factor] = SmoothGradCAMPlusPlus(num_samples=3)(scaled, images, target)
    assert_close(maps[scale], 4 * maps[scale / 4], 0.1 if scale == 1.0 else 1e-5)


def test_a_negative_third_moment_makes_no_pole():
    """Mean 1/4, mean cube −5/4; S_k is where the quotient as written divides by nearly 0."""
    gradients = torch.tensor([1.0, 1.0, 1.0, -2.0])
    second, third = float((gradients**2).mean()), float((gradients**3).mean())
    pole = -2 * second / third
    moments = _GradientMoments(1, torch.device("cpu"))
    for gradient in gradients:
        moments.add(gradient.view(1, 1, 1, 1))
    found = moments.contributions(torch.full((1, 1, 1, 1), pole + 1e-3), len(gradients))
    assert float(found) == pytest.approx(0.5 * 0.25)  # α = 1/2, D₁ = 1/4
    assert abs(second / (2 * second + (pole + 1e-3) * third)) > 100  # as written


def test_costs_its_samples_and_the_clean_image():
    net, _, images, target = bent()
    explainer = SmoothGradCAMPlusPlus(num_samples=4)
    explainer(net, images, target)
    classifier = Classifier(net, chunk_size=2)
    explainer(classifier, images, target)
    assert classifier.evaluations == 3 * 5 == 3 * explainer.evaluations
    assert SmoothGradCAMPlusPlus().evaluations == 26


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "`num_samples` to be >= 1, but got 0"),
        ({"num_samples": 2.5}, TypeError, "`num_samples` to be a whole number"),
        ({"noise_level": -0.1}, ValueError, "`noise_level` to be >= 0, but got -0.1"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        SmoothGradCAMPlusPlus(**settings)
