"""Expected Grad-CAM: the equations as a loop, and what must hold exactly where the head is linear."""

import math

import pytest
import torch

from lightning_xai import Classifier, ExpectedGradCAM
from lightning_xai._randomness import normal, uniform
from lightning_xai.explainers.cam.layer_explainer import LayerView
from lightning_xai.model.layer.search import capture_points
from lightning_xai.model.preserve import preserved
from tests._nets import ConvNet, calibrated, images_through
from tests.explainers.cam import _naive
from tests.explainers.cam._bent import assert_close, bent, gradient_of, maps_of

SAMPLES = 7
KEY = torch.zeros(1, dtype=torch.int64)


def references(side=8):
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(8)) + 0.5


def draws(sample, count, seed=0):
    """Return j and α of a sample."""
    first, second = uniform(KEY, (2,), seed=seed, sample=sample, purpose="path")[0].tolist()
    return math.floor(first * count), second


def noise_of(kind, image, sample, seed=0):
    size = tuple(image.shape)
    if kind == "gaussian":
        return normal(KEY, size, seed=seed, sample=sample)[0].double()
    return math.sqrt(12) * (uniform(KEY, size, seed=seed, sample=sample, purpose="noise")[0].double() - 0.5)


def naive(exact, image, label, level, kind, seed=0):
    """Buono et al. 2024, eq. 11, 13, 15, 18, 20 and 21, a sample at a time."""
    data, total = references().double(), 0.0
    for s in range(SAMPLES):
        j, alpha = draws(s, len(data), seed)
        smoothed = image + level * (image.max() - image.min()) * noise_of(kind, image, s, seed)
        between = data[j] + alpha * (smoothed - data[j])
        difference = maps_of(exact, smoothed) - maps_of(exact, data[j])
        total = total + difference * gradient_of(exact, between, label) / SAMPLES
    return _naive.weighted_sum(maps_of(exact, image), total.mean((1, 2)).tolist())


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("level", "kind"), [(0.0, "uniform"), (0.05, "uniform"), (0.2, "gaussian")])
def test_equals_the_equations(level, kind, relu):
    net, exact, images, target = bent()
    explainer = ExpectedGradCAM(
        references=references(), num_samples=SAMPLES, noise=kind, noise_level=level, relu=relu, seed=3
    )
    heatmaps = explainer(Classifier(net, chunk_size=2), images, target)
    pairs = zip(images.double(), target.tolist(), strict=True)
    expected = torch.stack([naive(exact, image, label, level, kind, seed=3) for image, label in pairs])
    assert_close(heatmaps, expected.relu() if relu else expected)


class TestGlobalAveragePoolingAndOneLinearLayer:
    """The gradient at the layer is v_k / Z everywhere, so samples change only the reference's activations."""

    net = calibrated(ConvNet(), size=16)
    images, target = torch.randn(3, 3, 16, 16), torch.tensor([1, 3, 0])
    explainer = ExpectedGradCAM(references=references(16), num_samples=SAMPLES, noise_level=0.0, relu=False)

    def maps(self, images):
        with torch.no_grad():
            return self.net.features(images)

    def drawn(self):
        return references(16)[[draws(s, 4)[0] for s in range(SAMPLES)]]

    def products(self):
        classifier = Classifier(self.net, chunk_size=3)
        (point,) = capture_points(classifier, "auto", self.images)
        with preserved(self.net):
            return self.explainer.products(LayerView(classifier, self.images, self.target, point, gradients=False))

    def test_weights(self):
        places, v = 8 * 8, self.net.fc.weight.detach()[self.target]
        here, there = self.maps(self.images), self.maps(self.drawn())
        expected = v / places * (here - there.mean(0)).mean((2, 3))
        torch.testing.assert_close(self.products().mean((2, 3)), expected)

    def test_the_heatmap(self):
        v = self.net.fc.weight.detach()[self.target]
        here, there = self.maps(self.images), self.maps(self.drawn())
        weights = v / 64 * (here - there.mean(0)).mean((2, 3))
        raw = (weights[:, :, None, None] * here).sum(1, keepdim=True)
        expected = torch.nn.functional.interpolate(raw, (16, 16), mode="bilinear", align_corners=False)[:, 0]
        assert_close(self.explainer(self.net, self.images, self.target), expected)

    def test_completeness(self):
        with torch.no_grad():
            here = self.net(self.images).gather(1, self.target[:, None])[:, 0]
            there = self.net(self.drawn()).mean(0)[self.target]
        torch.testing.assert_close(self.products().sum((1, 2, 3)), here - there, rtol=1e-4, atol=1e-5)


def test_completeness_holds_on_average_where_the_head_is_not_linear():
    """Along each path the gradient is that of the layer's own path only where layers before it are linear."""
    net, _, images, target = bent()
    net.conv.bias.data += 30.0  # the ReLU lets everything pass: activations move on a straight line too
    net.hidden.weight.data *= 0.02
    explainer = ExpectedGradCAM(references=references(), num_samples=2000, noise_level=0.0)
    classifier = Classifier(net)
    (point,) = capture_points(classifier, "auto", images)
    with preserved(net):
        layer = LayerView(classifier, images, target, point, gradients=False)
        found = explainer.products(layer).sum((1, 2, 3))
        starts = references()[[draws(s, 4)[0] for s in range(2000)]]
    with torch.no_grad():
        expected = net(images).gather(1, target[:, None])[:, 0] - net(starts).mean(0)[target]
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.05 * float(expected.abs().max()))


def test_draws_are_the_same_for_every_image_and_belong_to_the_seed():
    net, _, images, target = bent()
    explainer = ExpectedGradCAM(references=references(), num_samples=4)
    twice = explainer(net, images[[0, 0]], target[[0, 0]])
    torch.testing.assert_close(twice[0], twice[1])
    other = ExpectedGradCAM(references=references(), num_samples=4, seed=1)(net, images, target)
    assert not torch.allclose(explainer(net, images, target), other, rtol=1e-2)


@pytest.mark.parametrize(("level", "per_image"), [(0.05, 2 * 5 + 1), (0.0, 5 + 1)])
@pytest.mark.parametrize("chunk_size", [1, 2, 3])
def test_references_are_evaluated_once_per_chunk(level, per_image, chunk_size):
    net, _, images, target = bent()
    explainer = ExpectedGradCAM(references=references(), num_samples=5, noise_level=level)
    explainer(net, images, target)
    classifier, chunks = Classifier(net, chunk_size=chunk_size), -(-3 // chunk_size)
    sizes = []
    handle = net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    with images_through(net) as count:
        explainer(classifier, images, target)
    handle.remove()
    assert count[0] == classifier.evaluations == 3 * per_image + 5 * chunks
    assert max(sizes) <= chunk_size


def test_both_parents_settings():
    explainer = ExpectedGradCAM("conv", references(), relu=False, num_samples=3)
    assert not explainer.needs_references
    expected = {"target_layer": "conv", "relu": False, "num_samples": 3, "noise": "uniform", "noise_level": 0.05}
    settings = explainer.settings()
    assert settings.pop("references").startswith("Tensor(")
    assert settings == {**expected, "seed": 0}
    assert explainer.with_references(references()).settings() == explainer.settings()
    with pytest.raises(ValueError, match=r"ExpectedGradCAM\(references=images\)"):
        ExpectedGradCAM()(bent()[0], bent()[2], 0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "`num_samples` to be >= 1"),
        ({"noise": "normal"}, ValueError, "`noise` to be one of 'uniform', 'gaussian', but got 'normal'"),
        ({"noise_level": -1.0}, ValueError, "`noise_level` to be >= 0"),
        ({"target_layer": 3}, TypeError, "`target_layer` to be 'auto'"),
        ({"references": "images"}, TypeError, "`references` to be a Tensor"),
    ],
)
def test_settings_are_checked(settings, error, message):
    with pytest.raises(error, match=message):
        ExpectedGradCAM(**settings)
