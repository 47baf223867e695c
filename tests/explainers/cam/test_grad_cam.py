"""Grad-CAM on real architectures: equal to captum's where captum can be asked, and never all zero."""

import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from torch import nn
from torch.nn import functional as F

from lightning_xai import GradCAM
from tests._nets import calibrated


class DenseNetWithLayer(nn.Module):
    """DenseNet whose functional, in-place ReLU is a module, so that captum sees the tensor after it."""

    def __init__(self, net):
        super().__init__()
        self.net, self.after_relu = net, nn.Identity()

    def forward(self, x):
        maps = self.after_relu(F.relu(self.net.features(x)))
        return self.net.classifier(F.adaptive_avg_pool2d(maps, 1).flatten(1))


def build(name):
    net = getattr(torchvision.models, name)(num_classes=10)
    if name == "vit_b_16":
        nn.init.normal_(net.heads.head.weight)  # torchvision starts with zeros: no gradient anywhere
    return calibrated(net)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("densenet121", "after_relu"),
        ("efficientnet_b0", "features"),
        ("vgg11", "features"),
        ("mobilenet_v3_small", "features"),
    ],
)
def test_equals_captum(name, layer):
    net, images = build(name), torch.randn(2, 3, 224, 224)
    oracle = DenseNetWithLayer(net) if name == "densenet121" else net
    checked = 0
    for target in (torch.tensor([3, 7]), torch.tensor([0, 1])):
        heatmaps = GradCAM()(net, images, target)
        attributed = LayerGradCam(oracle, oracle.get_submodule(layer)).attribute(images, target, relu_attributions=True)
        expected = F.interpolate(attributed, (224, 224), mode="bilinear", align_corners=False)[:, 0].detach()
        for found, wanted in zip(heatmaps, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.max()))
            checked += float(wanted.max()) > 0
    assert checked >= 2


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "convnext_tiny"])
def test_shows_something_on_networks_that_captum_has_no_maps_for(name):
    net, images = build(name), torch.randn(1, 3, 224, 224)
    maps = torch.cat([GradCAM(relu=False)(net, images, target) for target in (0, 1)])
    assert bool((maps.flatten(1).std(1) > 0).all())
    assert not torch.allclose(*maps, atol=1e-2 * float(maps.abs().max()))
    assert bool((maps.flatten(1).amax(1) > 0).any())


def test_by_hand():
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[3].weight.data = torch.tensor([[4.0, -8.0], [1.0, 0.0]])
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 3.0]]]])
    heatmap = GradCAM(relu=False)(net, images, target=0)  # weights 4/4 and -8/4
    assert heatmap.tolist() == [[[1.0, 0.0], [3.0, -2.0]]]
    assert GradCAM()(net, images, target=0).tolist() == [[[1.0, 0.0], [3.0, 0.0]]]
