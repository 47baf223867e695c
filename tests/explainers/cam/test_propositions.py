"""Propositions 1 to 4 and Table 1 of the thesis on Grad-CAM and HiResCAM, as equalities of numbers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import CAM, GradCAM, HiResCAM

IMAGES = torch.randn(4, 3, 6, 9, generator=torch.Generator().manual_seed(1))
PLACES = 6 * 9
CLASSES = 5


class Network(nn.Module):
    """Convolutions, then GAP or Flatten, then one linear layer, or two; the maps have the size of the images."""

    def __init__(self, head):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 7, 3, padding=1)
        self.gap = head == "gap"
        features = 7 if self.gap else 7 * PLACES
        self.dense = nn.Sequential(nn.Linear(features, features), nn.ReLU()) if head == "dense" else nn.Identity()
        self.fc = nn.Linear(features, CLASSES)

    def forward(self, x):
        maps = F.relu(self.last(F.relu(self.first(x))))
        return self.fc(self.dense(maps.mean((2, 3)) if self.gap else maps.flatten(1)))


def scores(net):
    with torch.no_grad():
        return net(IMAGES)


def bias(net, m):
    return net.fc.bias[m].detach()


@pytest.fixture
def gap():
    return Network("gap")


@pytest.mark.parametrize("m", range(CLASSES))
class TestConvGapScores:
    def test_proposition_1_cam_is_the_class_score(self, gap, m):
        cam = CAM()(gap, IMAGES, m)
        torch.testing.assert_close(cam.sum((1, 2)) / PLACES + bias(gap, m), scores(gap)[:, m])

    def test_proposition_2_grad_cam_is_cam(self, gap, m):
        torch.testing.assert_close(GradCAM(relu=False)(gap, IMAGES, m), CAM()(gap, IMAGES, m) / PLACES)

    def test_proposition_3_hires_cam_is_cam(self, gap, m):
        torch.testing.assert_close(HiResCAM(relu=False)(gap, IMAGES, m), CAM()(gap, IMAGES, m) / PLACES)

    def test_so_rectified_maps_are_the_rectified_cam(self, gap, m):
        for method in (GradCAM(), HiResCAM(), CAM(relu=True)):
            scale = 1 if isinstance(method, CAM) else PLACES
            torch.testing.assert_close(scale * method(gap, IMAGES, m), CAM()(gap, IMAGES, m).relu())


@pytest.mark.parametrize("m", range(CLASSES))
def test_proposition_4_after_flatten_only_hires_cam_is_the_class_score(m):
    net = Network("flatten")
    hires, grad = HiResCAM(relu=False)(net, IMAGES, m), GradCAM(relu=False)(net, IMAGES, m)
    torch.testing.assert_close(hires.sum((1, 2)) + bias(net, m), scores(net)[:, m])  # eq. 20
    weights = net.fc.weight[m].detach().view(7, 6, 9)
    with torch.no_grad():
        maps = F.relu(net.last(F.relu(net.first(IMAGES))))
    torch.testing.assert_close(hires, (weights * maps).sum(1))  # eq. 19
    torch.testing.assert_close(grad, (weights.mean((1, 2), keepdim=True) * maps).sum(1))  # eq. 18
    error = (grad.sum((1, 2)) + bias(net, m) - scores(net)[:, m]).abs()
    assert float(error.max()) > 100 * float((hires.sum((1, 2)) + bias(net, m) - scores(net)[:, m]).abs().max())
    assert not torch.allclose(grad, hires, atol=1e-2 * float(hires.abs().max()))


@pytest.mark.parametrize(
    ("head", "layer"),
    [("gap", "first"), ("flatten", "first"), ("dense", "last"), ("dense", "first")],
)
def test_table_1_elsewhere_neither_is_the_class_score(head, layer):
    net = Network(head)
    maps = [method(layer, relu=False)(net, IMAGES, 0) for method in (GradCAM, HiResCAM)]
    assert not torch.allclose(*maps, atol=1e-2 * float(maps[1].abs().max()))
    for heatmaps in maps:
        left = scores(net)[:, 0] - bias(net, 0)
        assert float((heatmaps.sum((1, 2)) - left).abs().max()) > 1e-2 * float(left.abs().max())
