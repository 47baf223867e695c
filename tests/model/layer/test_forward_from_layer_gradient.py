"""The gradient of a loss by feature maps that replace a layer's: equal to that through the whole model."""

import logging

import pytest
import torch
from torch import nn

from lightning_xai import Classifier
from lightning_xai.model.layer.capture import feature_maps
from lightning_xai.model.layer.forward_from_layer import ForwardFromLayer
from lightning_xai.model.layer.search import capture_points
from tests._nets import ConvNet, ImagesConvolved, TinyViT, calibrated, differences, state_of

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def forward_of(net, layer):
    classifier = Classifier(net, chunk_size=2)
    (point,) = capture_points(classifier, layer, IMAGES)
    return ForwardFromLayer(classifier, IMAGES, point)


def loss(logits):
    """A loss in which every copy, image and class counts differently."""
    weight = torch.arange(1.0, logits.numel() + 1).view_as(logits)
    return (weight * logits.tanh()).sum(2)


def maps_like(forward, copies=3):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(copies, *forward.activations.shape, generator=generator) + forward.activations


def through_the_whole_model(net, layer, maps):
    """A forward hook writes each copy in the place of what the module returned."""
    leaf = maps.clone().requires_grad_()
    logits = []
    for copy in leaf:

        def replace(_, __, output, copy=copy):
            output = output.clone()
            feature_maps(output, (16, 16)).copy_(copy)
            return output

        handle = net.get_submodule(layer).register_forward_hook(replace)
        logits.append(net(IMAGES))
        handle.remove()
    return torch.autograd.grad(loss(torch.stack(logits)).sum(), leaf)[0]


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (ConvNet, "features.0"),
        (ConvNet, "features.4"),
        (ConvNet, "features"),
        (TinyViT, "blocks.0"),
        (TinyViT, "patches"),
    ],
)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_equals_that_through_the_whole_model(build, layer):
    net = calibrated(build(), size=16)
    forward = forward_of(net, layer)
    maps = maps_like(forward)
    expected = through_the_whole_model(net, layer, maps)
    found = forward.gradient(maps, loss)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert not found.requires_grad
    with torch.no_grad():
        assert torch.equal(forward.gradient(maps, loss), found)


def test_nothing_below_the_layer_is_computed_and_nothing_stays():
    net = calibrated(ConvNet(), size=16)
    forward = forward_of(net, "features.4")
    maps, before = maps_like(forward), state_of(net)
    with ImagesConvolved(net.features[0]) as computed:
        forward.gradient(maps, loss)
    assert computed.count == 0
    assert differences(before, state_of(net)) == []
    assert not maps.requires_grad


@pytest.mark.parametrize("layer", ["features.0", "features"])
def test_where_the_user_switches_gradients_off(layer):
    class Frozen(ConvNet):
        def forward(self, x):
            with torch.no_grad():
                x = self.features(x)
            return self.fc(self.pool(x).flatten(1))

    plain = calibrated(ConvNet(), size=16)
    frozen = Frozen().eval()
    frozen.load_state_dict(plain.state_dict())
    maps = maps_like(forward_of(plain, layer))
    expected = forward_of(plain, layer).gradient(maps, loss)
    torch.testing.assert_close(forward_of(frozen, layer).gradient(maps, loss), expected)


def test_a_model_that_does_not_run_from_the_middle_runs_in_full(caplog):
    class Unsteady(ConvNet):
        calls = 0

        def forward(self, x):
            type(self).calls += 1
            for _ in range(type(self).calls):
                x.sum()
            return super().forward(x)

    net, plain = Unsteady().eval(), ConvNet().eval()
    net.load_state_dict(plain.state_dict())
    with caplog.at_level(logging.INFO, "lightning_xai.model.layer.forward_from_layer"):
        forward = forward_of(net, "features")
    assert "nothing runs alone" in caplog.text
    maps = maps_like(forward)
    expected = through_the_whole_model(plain, "features", maps)
    torch.testing.assert_close(forward.gradient(maps, loss), expected)


def test_a_score_without_gradient_is_said():
    class Detached(ConvNet):
        def forward(self, x):
            return self.fc(self.pool(self.features(x)).detach().flatten(1))

    forward = forward_of(Detached().eval(), "features")
    with pytest.raises(RuntimeError, match=r"depend on the output of `features` differentiably, but no gradient"):
        forward.gradient(maps_like(forward), loss)


def test_what_is_in_half_precision_has_a_gradient_in_single():
    net = calibrated(ConvNet(), size=16).bfloat16()
    assert next(net.parameters()).dtype == torch.bfloat16
    forward = forward_of(net, "features")
    maps = maps_like(forward)
    found = forward.gradient(maps, loss)
    assert found.dtype == torch.float32
    expected = forward_of(nn.Module.float(net), "features").gradient(maps, loss)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1 * float(expected.abs().max()))
