"""The part of a model after a capture point: equal to the whole model with a channel removed, and nothing else runs."""

import logging
from copy import deepcopy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier
from lightning_xai.model.layer.capture import feature_maps
from lightning_xai.model.layer.forward_from_layer import ForwardFromLayer
from lightning_xai.model.layer.search import capture_points
from lightning_xai.model.preserve import preserved
from tests._nets import ConvNet, ImagesConvolved, TinyViT, calibrated, differences, state_of

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def forward_of(net, layer="auto", images=IMAGES):
    classifier = Classifier(net, chunk_size=len(images))
    (point,) = capture_points(classifier, layer, images)
    classifier.evaluations = 0
    return ForwardFromLayer(classifier, images, point), classifier


def all_without(forward):
    return torch.cat([forward.without(channels) for channels in forward.groups()])


def by_hook(net, layer, images, channel):
    """The whole model, with one channel of a module's output set to 0 on its way."""

    def without(_, __, output):
        output = output.clone()
        feature_maps(output, tuple(images.shape[2:]))[:, channel] = 0
        return output

    handle = net.get_submodule(layer).register_forward_hook(without)
    try:
        with torch.no_grad():
            return net(images)
    finally:
        handle.remove()


def assert_is_the_whole_model_without(forward, net, layer, images, channels):
    found = all_without(forward)
    assert len(found) == forward.activations.shape[1]
    for channel in channels:
        expected = by_hook(net, layer, images, channel)
        torch.testing.assert_close(found[channel], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert float((found - forward.logits).abs().max()) > 1e-4 * float(forward.logits.abs().max())


@pytest.mark.parametrize("layer", ["features", "features.1", "features.4", "features.0", "features.3"])
def test_every_layer_of_a_network_with_operations_in_place(layer):
    net = calibrated(ConvNet(), size=16)
    forward, classifier = forward_of(net, layer)
    assert_is_the_whole_model_without(forward, net, layer, IMAGES, range(forward.activations.shape[1]))
    assert classifier.evaluations == 2


@pytest.mark.parametrize(
    ("name", "layer", "side"),
    [
        ("resnet18", "layer4", 64),
        ("resnet18", "layer3.1.bn1", 64),  # read again by a shortcut, with an addition in place
        ("resnet18", "layer2", 64),
        ("densenet121", "features.denseblock4.denselayer2.conv2", 64),  # all earlier layers are read later
        ("densenet121", "features", 64),
        ("googlenet", "inception5a", 64),
        ("googlenet", "inception5a.branch2.0", 64),  # the other branches are already there, or still to come
        ("convnext_tiny", "features.7.2", 64),
        ("swin_t", "features.7.1.norm2", 64),
    ],
)
def test_equals_the_whole_model(name, layer, side, caplog):
    settings = {"init_weights": False} if name == "googlenet" else {}
    net = calibrated(getattr(torchvision.models, name)(num_classes=5, **settings), size=side)
    images = torch.randn(2, 3, side, side)
    with caplog.at_level(logging.INFO, "lightning_xai.model.layer.forward_from_layer"):
        forward, classifier = forward_of(net, layer, images)
        count = forward.activations.shape[1]
        assert_is_the_whole_model_without(forward, net, layer, images, [0, count // 3, count - 1])
    assert classifier.evaluations == 2
    assert caplog.text == ""


@pytest.mark.parametrize("layer", ["blocks.1.norm", "blocks.0"])
def test_transformers_lose_the_channel_of_their_patches_and_keep_the_class_token_s(layer):
    net = TinyViT().eval()
    forward, classifier = forward_of(net, layer)
    with torch.no_grad():
        expected = []
        for channel in range(8):

            def without(_, __, output, channel=channel):
                output = output.clone()
                output[:, 1:, channel] = 0
                return output

            handle = net.get_submodule(layer).register_forward_hook(without)
            expected.append(net(IMAGES))
            handle.remove()
    torch.testing.assert_close(all_without(forward), torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert classifier.evaluations == 2


def test_the_input_of_an_operation():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x):
            x = F.relu(self.conv(x), inplace=True)
            x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
            return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))

    net = Functional()
    forward, classifier = forward_of(net)
    weights = net.fc.weight.detach().T[:, None] * forward.activations.mean((2, 3)).T[:, :, None]
    torch.testing.assert_close(forward.logits - all_without(forward), weights)
    assert classifier.evaluations == 2


@pytest.mark.parametrize("layer", ["features", "features.1"])
def test_only_what_follows_the_layer_is_computed(layer):
    net = calibrated(ConvNet(), size=16)
    with ImagesConvolved(net.features[0]) as first, ImagesConvolved(net.features[4]) as second:
        forward, _ = forward_of(net, layer)
        all_without(forward)
    assert first.count == 2
    assert (second.count == 2) is (layer == "features")


def test_copies_at_a_time_do_not_depend_on_the_number_of_channels():
    """At most as much as the largest tensor of the plain pass, or 64 MiB."""
    net = nn.Sequential(nn.Conv2d(3, 4096, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4096, 2))
    forward, _ = forward_of(net, "0")
    sizes = [len(channels) for channels in forward.groups()]
    assert max(sizes) == 2**24 // (2 * 4096 * 8 * 8) == 32
    assert sum(sizes) == 4096


def test_nothing_stays_on_the_model():
    class Remembering(ConvNet):
        def forward(self, x):
            self.last = self.features(x)
            self.shape = self.last.shape
            return self.fc(self.last.mean((2, 3)))

    net = Remembering()
    with torch.no_grad():
        net(IMAGES)
    forward, _ = forward_of(net)
    kept, before = state_of(net), net.last
    all_without(forward)
    assert differences(kept, state_of(net)) == []
    assert net.last is before
    assert net.last.sum().isfinite()


def test_a_function_with_its_own_derivative_on_the_way():
    class Copied(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

    class Around(ConvNet):
        def forward(self, x):
            copied = Copied.apply(x.exp())  # in a replay, of a tensor without content
            return self.fc(self.features(x).mean((2, 3)) + copied.mean())

    net = calibrated(Around(), size=16)
    forward, classifier = forward_of(net, "features")
    assert_is_the_whole_model_without(forward, net, "features", IMAGES, range(12))
    assert classifier.evaluations == 2


class TestWhatCannotRunTogether:
    """Models for which the copies run one by one, or the whole model for each of them; the numbers are the same."""

    def run(self, net, expected_evaluations):
        reference = deepcopy(net)
        forward, classifier = forward_of(net, "features")
        found = all_without(forward)
        for channel in range(12):
            torch.testing.assert_close(found[channel], by_hook(reference, "features", IMAGES, channel))
        assert classifier.evaluations == expected_evaluations

    def test_a_choice_by_the_value_is_made_for_each_copy(self):
        class Choosing(ConvNet):
            def forward(self, x):
                maps = self.features(x)
                pooled = maps.mean((2, 3))
                return self.fc(pooled if float(pooled.sum()) > -1 else -pooled)

        net = calibrated(Choosing(), size=16)
        with ImagesConvolved(net.features[0]) as first:
            self.run(net, 2)
        assert first.count == 2

    def test_a_way_that_changes_from_call_to_call(self, caplog):
        class Unsteady(ConvNet):
            calls = 0

            def forward(self, x):
                type(self).calls += 1
                for _ in range(type(self).calls):
                    x.sum()
                return self.fc(self.features(x).mean((2, 3)))

        with caplog.at_level(logging.INFO, "lightning_xai.model.layer.forward_from_layer"):
            self.run(calibrated(Unsteady(), size=16), 2 * (1 + 12))
        assert "as before, but it called" in caplog.text

    def test_a_layer_that_is_reached_several_times(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

            def forward(self, x):
                return self.fc(self.conv(torch.tanh(self.conv(x))).mean((2, 3)))

        net = Twice()
        with pytest.warns(UserWarning, match="the output of `conv` was there 2 times; the last one counts"):
            forward, classifier = forward_of(net, "conv")
        weights = net.fc.weight.detach().T[:, None] * forward.activations.mean((2, 3)).T[:, :, None]
        torch.testing.assert_close(forward.logits - all_without(forward), weights)
        assert classifier.evaluations == 2


def test_an_error_of_the_model_is_the_user_s():
    net = calibrated(ConvNet(), size=16)
    net.fc.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        forward_of(net, "features")


def test_a_layer_that_does_not_run_is_said():
    net = calibrated(ConvNet(), size=16)
    net.pool.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(RuntimeError, match=r"Expected the output of `pool\.unused` to be part of the model's forward"):
        forward_of(net, "pool.unused")


def test_in_half_precision_and_under_inference_mode():
    net = calibrated(ConvNet(), size=16).bfloat16()
    with torch.inference_mode(), preserved(net):
        forward, classifier = forward_of(net, "features", IMAGES.clone())
        found = all_without(forward)
    assert found.dtype == torch.float32
    assert classifier.evaluations == 2
    expected = torch.stack([by_hook(net, "features", IMAGES.bfloat16(), channel).float() for channel in range(12)])
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * float(expected.abs().max()))
