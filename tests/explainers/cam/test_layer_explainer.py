"""What a layer shows of a chunk of images, at what cost, and the one sum that all methods share."""

import pytest
import torch

from lightning_xai import Classifier
from lightning_xai.explainers import LayerExplainer
from lightning_xai.explainers.cam.layer_explainer import LayerView
from lightning_xai.model.layer.points import LayerOutput
from lightning_xai.model.preserve import preserved
from tests._nets import images_through
from tests.explainers.cam._bent import bent, gradient_of, maps_of


def view(gradients):
    net, exact, images, target = bent()
    return LayerView(Classifier(net), images, target, LayerOutput("conv"), gradients=gradients), net, exact


def test_it_is_lazy_and_runs_once():
    layer, net, exact = view(gradients=True)
    with images_through(net) as count:
        assert count[0] == 0
        torch.testing.assert_close(layer.activations, exact.conv(layer.images.double()).float())
        torch.testing.assert_close(layer.logits, exact(layer.images.double()).float())
        slopes = layer.gradients
    assert count[0] == 3
    maps = exact.conv(layer.images.double()).detach().requires_grad_()
    logits = exact.head(maps.relu()).gather(1, layer.target[:, None]).sum()
    torch.testing.assert_close(slopes, torch.autograd.grad(logits, maps)[0].float())


def test_of_other_images():
    layer, net, exact = view(gradients=False)
    other = layer.of(layer.images + 1.0, gradients=True)
    with images_through(net) as count:
        torch.testing.assert_close(other.activations, exact.conv(layer.images.double() + 1.0).float())
        assert other.gradients.shape == other.activations.shape
    assert count[0] == 3


def test_the_pass_that_records_what_follows_shows_the_activations_too():
    layer, net, exact = view(gradients=False)
    with preserved(net):
        logits = layer.forward_from_here.logits
        torch.testing.assert_close(layer.activations, exact.conv(layer.images.double()).float())
    assert torch.equal(layer.logits, logits)
    assert layer.classifier.evaluations == 3


def test_without_gradients_they_cannot_be_read():
    layer, _, _ = view(gradients=False)
    with pytest.raises(RuntimeError, match="set `needs_gradients = True`"):
        _ = layer.gradients


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("per_place", [True, False])
def test_a_method_is_its_weights(relu, per_place):
    class Method(LayerExplainer):
        def feature_weights(self, layer):
            return layer.gradients if per_place else layer.gradients.sum((2, 3), keepdim=True)

    net, exact, images, target = bent()
    heatmaps = Method(relu=relu)(net, images, target)
    for heatmap, image, its in zip(heatmaps, images.double(), target, strict=True):
        slopes = gradient_of(exact, image, its)
        weights = slopes if per_place else slopes.sum((1, 2), keepdim=True)
        expected = sum(w * a for w, a in zip(weights, maps_of(exact, image), strict=True))
        torch.testing.assert_close(heatmap, (expected.clamp(min=0) if relu else expected).float())
