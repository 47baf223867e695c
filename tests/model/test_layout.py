"""channels_last: only where no gradients are wanted, and only for models that read it alike."""

import pytest
import torch
from torch import nn

from lightning_xai import Classifier
from lightning_xai.explainers import GradCAM
from lightning_xai.model.layout import reads_channels_last
from tests._nets import ConvNet, FlattenNet, TinyViT

IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Reading(nn.Module):
    """A network that does something with its input, or its feature maps, first."""

    def __init__(self, read, *, features=False):
        super().__init__()
        self.net, self.read, self.features = ConvNet(), read, features

    def forward(self, x):
        if self.features:
            return self.read(self.net.features(x)) + self.net(x)
        return self.net(x) + self.read(x)


def views(x):
    return x.view(len(x), -1)[:, :4]


def reads_memory(x):
    return x.as_strided((len(x), 4), (x[0].numel(), 1))


def branches(x):
    return 1.0 + 0.0 * views(x) if x.is_contiguous() else x.new_zeros(len(x), 4)


def layouts(net):
    """Note the layout of every input of a network."""
    seen = []
    net.register_forward_pre_hook(lambda _, args: seen.append(is_last(args[0])))
    return seen


def is_last(images):
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


@pytest.mark.parametrize("make", [ConvNet, FlattenNet, lambda: TinyViT(image_size=(8, 8), channels=3)])
def test_models_that_read_it(make):
    net = make().eval()
    assert reads_channels_last(Classifier(net), IMAGES)
    with torch.no_grad():
        expected = net(IMAGES)
    found = Classifier(net, chunk_size=2, channels_last=True).logits(IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("read", [views, reads_memory, branches])
@pytest.mark.parametrize("features", [False, True])
def test_models_that_do_not(read, features):
    net = Reading(read, features=features).eval()
    assert not reads_channels_last(Classifier(net), IMAGES)
    assert not reads_channels_last(Classifier(net, channels_last=True), IMAGES)
    assert reads_channels_last(Classifier(Reading(lambda x: x.flatten(1)[:, :4], features=features)), IMAGES)


def test_bfloat16_rounding_is_not_the_same():
    class Rounded(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4] * (1.0 if x.is_contiguous() else 1.004)

    assert not reads_channels_last(Classifier(Rounded()), IMAGES)


def test_a_model_whose_logits_are_all_zero_or_nan():
    assert reads_channels_last(Classifier(Reading(lambda x: x.flatten(1)[:, :4]).requires_grad_(False)), IMAGES)
    zero = Reading(lambda x: x.new_zeros(len(x), 4))
    nn.init.zeros_(zero.net.fc.weight)
    nn.init.zeros_(zero.net.fc.bias)
    assert reads_channels_last(Classifier(zero), IMAGES)
    assert not reads_channels_last(Classifier(Reading(lambda x: x.flatten(1)[:, :4] * torch.nan)), IMAGES)


def test_gradients_see_images_as_they_come():
    net = ConvNet().eval()
    seen = layouts(net)
    classifier = Classifier(net, channels_last=True)
    heatmaps = GradCAM()(classifier, IMAGES, 0)
    assert seen
    assert not any(seen)
    assert torch.equal(heatmaps, GradCAM()(net, IMAGES, 0))
    seen.clear()
    classifier.logits(IMAGES)
    assert seen == [True]
    classifier.in_layout(channels_last=False).logits(IMAGES)
    classifier.in_layout(channels_last=False).logits(IMAGES.contiguous(memory_format=torch.channels_last))
    assert seen == [True, False, True]  # as they come


def test_views_of_a_classifier_keep_it():
    net = ConvNet().eval()
    seen = layouts(net)
    classifier = Classifier(net, channels_last=True)
    classifier.with_extra(None).rows(slice(0, 2)).lowered().logits(IMAGES)
    assert seen == [True]
