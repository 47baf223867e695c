"""Grad-CAM on real architectures, equal to captum's; on others see tests/model/test_target_layer.py."""

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
    return calibrated(getattr(torchvision.models, name)(num_classes=10))


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
    net, images, target = build(name), torch.randn(2, 3, 224, 224), torch.tensor([3, 7])
    oracle = DenseNetWithLayer(net) if name == "densenet121" else net
    attributed = LayerGradCam(oracle, oracle.get_submodule(layer)).attribute(images, target).detach()
    for relu in (True, False):
        heatmaps = GradCAM(relu=relu)(net, images, target)
        raw = attributed.relu() if relu else attributed
        expected = F.interpolate(raw, (224, 224), mode="bilinear", align_corners=False)[:, 0]
        for found, wanted in zip(heatmaps, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert bool((attributed.flatten(1).std(1) > 0).all())


def test_by_hand():
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    net[3].weight.data = torch.tensor([[4.0, -8.0], [1.0, 0.0]])
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 3.0]]]])
    heatmap = GradCAM(relu=False)(net, images, target=0)  # weights 4/4 and -8/4
    assert heatmap.tolist() == [[[1.0, 0.0], [3.0, -2.0]]]
    assert GradCAM()(net, images, target=0).tolist() == [[[1.0, 0.0], [3.0, 0.0]]]
