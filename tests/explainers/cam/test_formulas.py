"""Each method against its paper's formula in float64, at gradients as small as real networks have."""

from types import SimpleNamespace

import pytest
import torch

from lightning_xai import Classifier, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM, preserved
from lightning_xai.explainers import LayerExplainer
from tests._nets import ConvNet, FlattenNet, calibrated
from tests.explainers.cam import _naive

METHODS = {
    "grad_cam": (GradCAM, _naive.grad_cam),
    "grad_cam_plus_plus": (GradCAMPlusPlus, _naive.grad_cam_plus_plus),
    "grad_cam_plus_plus normalised": (
        lambda: GradCAMPlusPlus(normalize_alpha=True),
        lambda a, g: _naive.grad_cam_plus_plus(a, g, normalize_alpha=True),
    ),
    "xgrad_cam": (XGradCAM, _naive.xgrad_cam),
    "hires_cam": (HiResCAM, _naive.hires_cam),
    "layer_cam": (LayerCAM, _naive.layer_cam),
}


def map_of(explainer, activations, gradients):
    """Return the map, before the ReLU, of a layer that holds these."""
    explainer.relu = False
    return explainer.layer_map(SimpleNamespace(activations=activations, gradients=gradients))


def assert_close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("method", METHODS)
def test_weighted_sum_equals_the_paper(method, scale):
    make, naive = METHODS[method]
    activations = torch.rand(3, 6, 5, 4) * torch.rand(3, 6, 1, 1) * 3
    activations[0, 0] = 0
    gradients = torch.randn(3, 6, 5, 4) * scale
    gradients[1, 2] = -gradients[1, 2].abs()
    found = map_of(make(), activations, gradients)
    for row, a, g in zip(found, activations, gradients, strict=True):
        assert_close(row, naive(a, g))


@pytest.mark.filterwarnings("ignore:XGradCAM divides")
@pytest.mark.parametrize("method", METHODS)
def test_weighted_sum_on_signed_activations(method):
    make, naive = METHODS[method]
    activations, gradients = torch.randn(2, 6, 5, 4), torch.randn(2, 6, 5, 4) * 1e-3
    activations[0, 1] -= activations[0, 1].mean()  # cancels
    found = map_of(make(), activations, gradients)
    assert bool(found.isfinite().all())
    for row, a, g in zip(found, activations, gradients, strict=True):
        assert_close(row, naive(a, g), 1e-4)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_a_network_s_heatmap_equals_the_paper(method, relu):
    """The target layer has the size of the images, so nothing is resized."""
    make, naive = METHODS[method]
    net, images, target = FlattenNet(), torch.randn(3, 3, 8, 8), torch.tensor([0, 2, 1])
    explainer = make()
    explainer.relu = relu
    heatmaps = explainer(net, images, target)
    a = net.conv(images).relu()
    logits = net.fc(a.flatten(1)).gather(1, target[:, None]).sum()
    (g,) = torch.autograd.grad(logits, a)
    for row, one, its in zip(heatmaps, a.detach(), g, strict=True):
        expected = naive(one, its)
        assert_close(row, expected.relu() if relu else expected)


def test_grad_cam_plus_plus_is_proportional_to_the_paper_s_with_its_exponential():
    activations, gradients = torch.rand(4, 5, 5), torch.randn(4, 5, 5) * 1e-2
    full = _naive.grad_cam_plus_plus_of_the_exponential(activations, gradients, score=1.7)
    found = map_of(GradCAMPlusPlus(), activations[None], gradients[None])[0].double()
    assert_close(found / found.abs().max(), full / full.abs().max())
    assert float(full.abs().max() / found.abs().max()) == pytest.approx(2.718281828**1.7, rel=1e-5)


def test_grad_cam_plus_plus_underflows_where_an_epsilon_is_added_to_the_quotient():
    """The control: the released code's form is wrong by several times at gradients of real networks."""
    activations, gradients = torch.rand(1, 4, 7, 7), torch.randn(1, 4, 7, 7) * 2e-4
    total = activations.sum((2, 3), keepdim=True)
    alpha = gradients**2 / (2 * gradients**2 + total * gradients**3 + 1e-6)
    released = ((alpha * gradients.relu()).sum((2, 3), keepdim=True) * activations).sum(1)[0]
    expected = _naive.grad_cam_plus_plus(activations[0], gradients[0])
    assert float((expected / released.double()).min()) > 3
    assert_close(map_of(GradCAMPlusPlus(), activations, gradients)[0], expected)


def test_xgrad_cam_warns_where_activations_are_signed():
    signed = torch.rand(1, 2, 3, 3) - 0.5
    with pytest.warns(UserWarning, match="XGradCAM divides by the sum of activations, which are signed"):
        map_of(XGradCAM(), signed, torch.rand(1, 2, 3, 3))
    map_of(XGradCAM(), signed.relu(), torch.rand(1, 2, 3, 3))
    map_of(XGradCAM(), torch.nn.functional.silu(4 * signed.abs() - 0.2), torch.rand(1, 2, 3, 3))


def test_xgrad_cam_and_hires_cam_sum_to_the_logit_minus_its_bias_after_a_linear_layer():
    net, images = FlattenNet(), torch.randn(4, 3, 8, 8)
    logits = net(images).detach()
    for method in (XGradCAM(relu=False), HiResCAM(relu=False)):
        for target in range(3):
            sums = method(net, images, target).sum((1, 2))
            torch.testing.assert_close(sums, logits[:, target] - net.fc.bias[target].detach(), rtol=1e-4, atol=1e-5)


def net_and_images():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return calibrated(ConvNet(), size=16), torch.randn(3, 3, 16, 16)


class TestLayerExplainer:
    net, images = net_and_images()

    def test_rectified_before_resizing(self):
        signed = GradCAM(relu=False)(self.net, self.images, 1)
        rectified = GradCAM()(self.net, self.images, 1)
        assert float(signed.min()) < 0 <= float(rectified.min())
        assert not torch.equal(signed.relu(), rectified)

    def test_several_layers_are_scaled_and_averaged_at_the_first_one_s_size(self):
        layers = ["features.3", "features.2", self.net.features]
        heatmaps = GradCAM(layers)(self.net, self.images, 1)
        maps = []
        for layer in layers:
            explainer = GradCAM(layer)
            with preserved(self.net):
                raw = explainer.explain(Classifier(self.net), self.images, torch.ones(len(self.images)).long())[:, None]
            raw = torch.nn.functional.interpolate(raw, (8, 8), mode="bilinear", align_corners=False)[:, 0]
            peak = raw.amax((1, 2), keepdim=True)
            maps.append(torch.where(peak > 0, raw / peak, 0.0))
        expected = torch.nn.functional.interpolate(torch.stack(maps).mean(0)[:, None], (16, 16), mode="bilinear")[:, 0]
        torch.testing.assert_close(heatmaps, expected)

    def test_one_layer_in_a_list_is_that_layer(self):
        one = GradCAM(["features.3"])(self.net, self.images, 1)
        assert torch.equal(one, GradCAM("features.3")(self.net, self.images, 1))

    def test_it_says_what_it_captured(self):
        explainer = GradCAM()
        assert explainer.picked == []
        explainer(self.net, self.images, 1)
        assert explainer.picked == ["the output of `features`"]
        assert explainer.settings() == {"target_layer": "auto", "relu": True}

    @pytest.mark.parametrize("layer", [None, 3, [], ["layer4", 3], ()])
    def test_other_layers_are_refused_at_once(self, layer):
        with pytest.raises(
            TypeError, match="Expected `target_layer` to be 'auto', a name, a module or a list of these"
        ):
            GradCAM(layer)

    def test_an_unknown_layer_is_said_when_the_model_is_known(self):
        with pytest.raises(ValueError, match=r"Expected `target_layer` to be one of .* Did you mean 'features'"):
            GradCAM("feature")(self.net, self.images, 1)

    def test_a_method_without_gradients_that_needs_them_is_said(self):
        class Forgetful(LayerExplainer):
            needs_gradients = False

            def feature_weights(self, layer):
                return layer.gradients

        with pytest.raises(RuntimeError, match="to give gradients, but it did not: set `needs_gradients = True`"):
            Forgetful()(self.net, self.images, 1)
