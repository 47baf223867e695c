"""Any attribution of captum behind the interface: equal to captum called directly, and no trace left."""

import json

import captum.attr
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import CaptumExplainer, Classifier, GradCAM, get_explainer
from tests._nets import ConvNet, TinyViT, calibrated, differences, state_of
from tests.explainers.gradient._nets import Modules

pytestmark = pytest.mark.filterwarnings("ignore:Setting .*hooks", "ignore:Input Tensor")

TARGET = torch.tensor([0, 2, 1])


def images():
    return torch.randn(3, 3, 8, 8)


def assert_close(found, expected):
    expected = expected.detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Saliency", {"abs": False}),
        ("InputXGradient", {}),
        ("Deconvolution", {}),
        ("DeepLift", {"eps": 1e-8, "baselines": 0.3}),
        ("LRP", {}),
        ("IntegratedGradients", {"method": "riemann_trapezoid", "n_steps": 5, "multiply_by_inputs": False}),
        ("FeatureAblation", {"baselines": 0.5, "perturbations_per_eval": 8}),
        ("Occlusion", {"sliding_window_shapes": [3, 4, 4], "strides": [3, 2, 2]}),
        ("NeuronGradient", {"layer": "conv2", "neuron_selector": [1, 2, 3]}),
    ],
)
def test_input_attributions_equal_captum_s(name, arguments):
    net, batch = Modules(), images()
    tuples = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    construct = {key: tuples.pop(key) for key in ("eps", "multiply_by_inputs") if key in tuples}
    if "layer" in tuples:
        construct["layer"] = getattr(net, tuples.pop("layer"))
    else:
        tuples["target"] = TARGET
    expected = getattr(captum.attr, name)(net, **construct).attribute(batch.clone(), **tuples).sum(1)
    explainer = CaptumExplainer(f"captum.attr.{name}", **arguments)
    assert_close(explainer(net, batch, TARGET), expected)
    again = get_explainer("captum_explainer", **json.loads(json.dumps(explainer.settings())))
    assert_close(again(net, batch, TARGET), expected)


@pytest.mark.parametrize("name", ["LayerActivation", "LayerGradientXActivation", "LayerConductance", "LayerDeepLift"])
def test_layer_attributions_are_summed_and_resized(name):
    net, batch = Modules(), images()
    method = getattr(captum.attr, name)(net, net.conv2)
    arguments = {} if name == "LayerActivation" else {"target": TARGET}
    maps = method.attribute(batch.clone(), **arguments).sum(1, keepdim=True)
    assert maps.shape == (3, 1, 4, 4)
    expected = F.interpolate(maps, size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    assert_close(CaptumExplainer(f"captum.attr.{name}", layer="conv2")(net, batch, TARGET), expected)


def test_grad_cam_of_captum_behind_in_place_layers():
    net, batch = calibrated(ConvNet(), size=8), images()
    found = CaptumExplainer("captum.attr.LayerGradCam", "features", relu_attributions=True)(net, batch, TARGET)
    assert_close(found, GradCAM("features")(net, batch, TARGET))


def test_tokens_become_maps():
    net, batch = TinyViT(), torch.randn(2, 3, 16, 16)
    explainer = CaptumExplainer("captum.attr.LayerActivation", "blocks.0")
    tokens = net.blocks[0](
        torch.cat([net.prefix.expand(2, -1, -1), net.patches(batch).flatten(2).mT + net.position], 1)
    )
    expected = F.interpolate(tokens[:, 1:].sum(2).view(2, 1, 4, 4), size=(16, 16), mode="bilinear")[:, 0]
    assert_close(explainer(net, batch, 0), expected)


@pytest.mark.parametrize("name", ["DeepLift", "LRP", "GuidedBackprop", "LayerLRP"])
def test_no_trace_is_left_by_methods_that_hook_modules(name):
    net, batch = Modules(), images()
    net.train()
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    settings = {"layer": "conv2"} if name == "LayerLRP" else {}
    explainer = CaptumExplainer(f"captum.attr.{name}", **settings)
    kept, places = state_of(net), [p.data_ptr() for p in net.parameters()]
    explainer(net, batch, TARGET)
    assert differences(kept, state_of(net)) == []
    assert [p.data_ptr() for p in net.parameters()] == places
    handle = net.fc2.register_forward_hook(lambda *_: 1 / 0)
    kept = state_of(net)
    with pytest.raises(ZeroDivisionError):
        explainer(net, batch, TARGET)
    assert differences(kept, state_of(net)) == []
    handle.remove()
    assert all(module.inplace for module in net.modules() if isinstance(module, nn.ReLU))


def test_the_control_captum_itself_leaves_attributes_on_layers():
    net = Modules()
    kept = state_of(net)
    captum.attr.LRP(net).attribute(images(), target=TARGET)
    assert "conv1.__dict__" in differences(kept, state_of(net))


def test_no_warning_of_captum_reaches_the_user(recwarn):
    CaptumExplainer("captum.attr.DeepLift")(Modules(), images(), TARGET)
    CaptumExplainer("captum.attr.Saliency")(Modules(), images(), TARGET)
    assert not recwarn.list


def test_evaluations_are_counted():
    classifier = Classifier(Modules())
    CaptumExplainer("captum.attr.Occlusion", sliding_window_shapes=[3, 4, 4], strides=[3, 4, 4])(
        classifier, images(), TARGET
    )
    assert classifier.evaluations == 3 * (1 + 4)


class TestRefused:
    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("captum.attr.Salience", r"Expected `attribution` to be one of .*Did you mean 'Saliency'\?"),
            (
                "captum.atr.Saliency",
                r"Expected `attribution` to be the path of a class, such as .*'captum\.atr\.Saliency'",
            ),
            ("Saliency", "Expected `attribution` to be the path of a class"),
            ("captum.attr.NoiseTunnel", r"whose first argument is the model, but that of .* is `attribution_method`"),
        ],
    )
    def test_paths(self, path, message):
        with pytest.raises(ValueError, match=message):
            CaptumExplainer(path)

    def test_layers(self):
        with pytest.raises(
            ValueError, match=r"Expected `layer` to be the name of a layer for .*LayerGradCam, but got None"
        ):
            CaptumExplainer("captum.attr.LayerGradCam")
        with pytest.raises(
            ValueError, match=r"Expected `layer` to be None for captum\.attr\.Saliency, but got 'conv2'"
        ):
            CaptumExplainer("captum.attr.Saliency", "conv2")
        with pytest.raises(
            ValueError, match=r"Expected `layer` to be one of 'conv1', .* but got 'conv3'. Did you mean 'conv2'"
        ):
            CaptumExplainer("captum.attr.LayerGradCam", "conv3")(Modules(), images(), TARGET)

    def test_arguments(self):
        message = r"Expected arguments of captum\.attr\.Saliency \(abs, additional_forward_args\), but got n_steps"
        with pytest.raises(TypeError, match=message):
            CaptumExplainer("captum.attr.Saliency", n_steps=3)

    def test_results_without_places(self):
        with pytest.raises(ValueError, match=r"the result of captum\.attr\.LayerActivation holds"):
            CaptumExplainer("captum.attr.LayerActivation", "fc1")(Modules(), images(), TARGET)
