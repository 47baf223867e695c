import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lightning_xai import CAM, Classifier, Readout
from tests._nets import ConvNet, FlattenNet, TinyViT, calibrated


def head(channels=2, classes=2):
    return nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def test_by_hand():
    net = head()
    net[3].weight.data = torch.tensor([[4.0, -8.0], [1.0, 0.5]])
    images = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 3.0]]]])
    assert CAM()(net, images, target=0).tolist() == [[[4.0, 0.0], [12.0, -8.0]]]
    assert CAM()(net, images, target=1).tolist() == [[[1.0, 2.5], [3.0, 5.5]]]
    assert CAM(relu=True)(net, images, target=0).tolist() == [[[4.0, 0.0], [12.0, 0.0]]]


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_is_the_weighted_sum_of_the_last_maps(name):
    net, images = calibrated(getattr(torchvision.models, name)(num_classes=6), size=96), torch.randn(2, 3, 96, 96)
    kept = []
    pool = net.avgpool if name == "resnet18" else net.features
    pool.register_forward_hook(lambda m, args, output: kept.append(args[0] if name == "resnet18" else output))
    net(images)
    weights = net.fc.weight[4] if name == "resnet18" else net.classifier.weight[4]
    raw = (weights[:, None, None] * kept[0].relu()).sum(1, keepdim=True).detach()
    expected = F.interpolate(raw, (96, 96), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(CAM()(net, images, 4), expected, rtol=1e-4, atol=1e-5)


def test_the_single_logit_s_weights_are_negated_for_class_0():
    net, images = head(classes=1), torch.rand(2, 2, 3, 3)
    zero, one = CAM()(net, images, 0), CAM()(net, images, 1)
    assert torch.equal(zero, -one)
    torch.testing.assert_close(one.mean((1, 2)) + net[3].bias.detach(), net(images)[:, 0].detach())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_linear_layers_without_bias_and_in_half_precision(bias, dtype):
    net = head(3, 4)
    net[3] = nn.Linear(3, 4, bias=bias)
    net = net.to(dtype)
    images = torch.rand(2, 3, 4, 4)
    expected = torch.einsum("c,nchw->nhw", net[3].weight[2].float(), images.to(dtype).float()).detach()
    torch.testing.assert_close(CAM()(net, images, 2), expected)


class TestRefused:
    message = "Expected a network that ends in global average pooling and one linear layer for CAM, but no linear layer"

    @pytest.mark.parametrize(
        "net",
        [
            FlattenNet(),
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
            nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)
            ),
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
            TinyViT((8, 8)),
        ],
        ids=["flatten", "max", "two layers", "grid", "transformer"],
    )
    def test_other_heads(self, net):
        name = type(net).__name__
        with pytest.raises(ValueError, match=f"{self.message} of {name} maps the means .*Use GradCAM"):
            CAM()(net, torch.randn(2, 3, 8, 8), target=0)

    def test_other_layers(self):
        with pytest.raises(ValueError, match=self.message):
            CAM("features.3")(calibrated(ConvNet(), size=8), torch.randn(2, 3, 8, 8), target=0)

    def test_heads_whose_logits_are_tiny(self):
        """The tolerance follows the logits, or every head of an untrained network would pass."""
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)
        )
        for layer in (net[3], net[5]):
            nn.init.normal_(layer.weight, std=1e-2)
            nn.init.zeros_(layer.bias)
        with pytest.raises(ValueError, match=self.message):
            CAM()(net, torch.randn(2, 3, 8, 8), target=0)

    def test_a_target_out_of_range(self):
        with pytest.raises(ValueError, match=r"class in \[0, 3\], the model's 4 classes, but got 4"):
            CAM()(ConvNet(), torch.randn(2, 3, 8, 8), target=4)


def test_multilabel():
    net, images = head(3, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(CAM()(Classifier(net, Readout("multilabel")), images, 1), CAM()(net, images, 1))
