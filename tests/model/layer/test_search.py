import logging

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier, GradCAM, Readout, ScoreCAM
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.points import LayerInput, LayerOutput, OperationInput, OperationOutput
from lightning_xai.model.layer.search import attends_globally, capture_points, forget, look_at
from tests._nets import ByBrightness, ConvNet, FlattenNet, TinyViT, calibrated, images_through


def found(model, images, layer="auto"):
    """Return where ``layer`` is and what is there."""
    classifier = Classifier(model)
    (point,) = capture_points(classifier, layer, images)
    return point, capture(classifier, images, torch.zeros(len(images), dtype=torch.long), point)


TORCHVISION = {
    "resnet18": ("the output of `layer4`", (512, 7, 7)),
    "densenet121": ("the input of `adaptive_avg_pool2d` (call 1)", (1024, 7, 7)),
    "efficientnet_b0": ("the output of `features`", (1280, 7, 7)),
    "vgg11": ("the output of `features`", (512, 7, 7)),
    "alexnet": ("the output of `features`", (256, 6, 6)),
    "googlenet": ("the output of `inception5b`", (1024, 7, 7)),
    "mobilenet_v3_small": ("the output of `features`", (576, 7, 7)),
    "convnext_tiny": ("the output of `features`", (768, 7, 7)),
    "swin_t": ("the output of `permute`", (768, 7, 7)),
    "vit_b_16": ("the output of `encoder.layers.encoder_layer_11.ln_1`", (768, 14, 14)),
}
TIMM = {
    "resnet18": ("the output of `layer4`", (512, 7, 7)),
    "vit_tiny_patch16_224": ("the output of `blocks.11.norm1`", (192, 14, 14)),
    "vit_tiny_patch16_224 average": ("the input of `mean` (call 1)", (192, 14, 14)),
    "deit_tiny_distilled_patch16_224": ("the output of `blocks.11.norm1`", (192, 14, 14)),
    "swin_tiny_patch4_window7_224": ("the output of `norm`", (768, 7, 7)),
    "convnext_atto": ("the output of `stages`", (320, 7, 7)),  # its `norm_pre` is an identity
}


def torchvision_net(name):
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    net = getattr(torchvision.models, name)(num_classes=10, **extra)
    if name == "vit_b_16":
        nn.init.normal_(net.heads.head.weight)  # torchvision starts with zeros: no gradient anywhere
    return calibrated(net)


def timm_net(name):
    name, _, pooling = name.partition(" ")
    net = timm.create_model(name, num_classes=10, **({"global_pool": "avg"} if pooling else {}))
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.out_features == 10:
            nn.init.normal_(module.weight)
    return calibrated(net)


@pytest.mark.parametrize(
    ("build", "name", "expected"),
    [(torchvision_net, name, expected) for name, expected in TORCHVISION.items()]
    + [(timm_net, name, expected) for name, expected in TIMM.items()],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
@pytest.mark.filterwarnings("ignore:GradCAM on a transformer")
def test_automatic_choice(build, name, expected):
    net, images = build(name), torch.randn(1, 3, 224, 224)
    point, there = found(net, images)
    assert (str(point), tuple(there.activations.shape[1:])) == expected
    assert there.gradients.shape == there.activations.shape
    maps = GradCAM(relu=False)(net, images, 0)
    assert maps.shape == (1, 224, 224)
    assert float(maps.std()) > 1e-3 * float(maps.abs().max()) > 0
    assert attends_globally(net) is any(kind in name for kind in ("vit", "deit"))


class Headed(nn.Module):
    """Two convolutions, and a head that is a function."""

    def __init__(self, head, features=8, channels=8):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, channels, 3, 2, 1)
        self.fc = nn.Linear(features, 4)
        self.head = head

    def forward(self, x):
        return self.fc(self.head(self.second(self.first(x).relu()).relu()))


HEADS = {
    "mean": (lambda x: x.mean((2, 3)), "the input of `mean` (call 1)"),
    "mean of negative axes": (lambda x: x.mean([-1, -2]), "the input of `mean` (call 1)"),
    "torch.mean with keywords": (lambda x: torch.mean(input=x, dim=(2, 3)), "the input of `mean` (call 1)"),
    "sum": (lambda x: x.sum((2, 3)), "the input of `sum` (call 1)"),
    "amax": (lambda x: x.amax((2, 3)), "the input of `amax` (call 1)"),
    "logsumexp": (lambda x: x.logsumexp((2, 3)), "the input of `logsumexp` (call 1)"),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, x.shape[2:])[:, :, 0, 0], "the input of `avg_pool2d` (call 1)"),
    "max_pool2d": (lambda x: F.max_pool2d(x, 8)[:, :, 0, 0], "the input of `max_pool2d` (call 1)"),
    "adaptive avg": (lambda x: F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0], "the input of `adaptive_avg_pool2d` (call 1)"),
    "adaptive max": (lambda x: F.adaptive_max_pool2d(x, 1)[:, :, 0, 0], "the input of `adaptive_max_pool2d` (call 1)"),
    "flatten and mean": (lambda x: x.flatten(2).mean(2), "the input of `flatten` (call 1)"),
    "view and mean": (lambda x: x.view(len(x), 8, -1).mean(-1), "the input of `view` (call 1)"),
    "generalised mean": (
        lambda x: F.avg_pool2d(x.clamp(min=1e-3) ** 3, 8)[:, :, 0, 0] ** (1 / 3),
        "the input of `avg_pool2d` (call 1)",
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_that_are_functions(name):
    head, expected = HEADS[name]
    point, there = found(Headed(head), torch.randn(2, 3, 16, 16))
    assert str(point) == expected
    assert there.activations.shape == (2, 8, 8, 8)
    assert bool((there.gradients.flatten(1).abs().amax(1) > 0).all())


def test_as_many_channels_as_places_are_not_taken_for_tokens():
    model = Headed(lambda x: x.flatten(2).mean(2), features=64, channels=64)
    point, there = found(model, torch.randn(1, 3, 16, 16))
    assert point == OperationInput("flatten", 1)
    torch.testing.assert_close(there.gradients[0, :, 0, 0] * 64, model.fc.weight[0].detach())


def test_an_unknown_pooling_leaves_what_entered_it():
    point, there = found(Headed(lambda x: torch.einsum("nchw->nc", x)), torch.randn(1, 3, 16, 16))
    assert point == OperationOutput("relu", 2)  # an equation, not the tensor, is the first argument of einsum
    assert str(point) == "the output of `relu` (call 2)"
    assert there.activations.shape == (1, 8, 8, 8)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer3"), ("mobilenet_v3_small", "features.9.block.0")])
def test_images_so_small_that_one_place_is_left_take_the_last_layer_with_more(name, layer):
    point, there = found(torchvision_net(name), torch.randn(1, 3, 32, 32))
    assert point == LayerOutput(layer)
    assert there.activations.shape[2:] == (2, 2)


def test_a_pooling_that_repeats_one_place_is_not_taken_for_a_map():
    """As torchvision's VGG repeats it for small images: a map of equal values would locate nothing."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 5, 3, 2, 1))
    net.extend([nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(245, 3)])
    point, there = found(net, torch.randn(1, 3, 8, 8))
    assert point == LayerOutput("2")
    assert there.activations.shape[2:] == (2, 2)


class Reusing(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)
        self.how = forward

    def forward(self, x):
        return self.fc(self.how(self.conv, x).mean((2, 3)))


def overwritten(conv, x):
    return F.relu(conv(x), inplace=True)


def first_of_two_calls(conv, x):
    first = conv(x)
    conv(first)
    return first


@pytest.mark.parametrize("forward", [overwritten, first_of_two_calls])
def test_an_output_that_a_hook_would_not_see_as_it_is_used_is_taken_at_its_use(forward):
    net, images = Reusing(forward), torch.randn(2, 3, 8, 8)
    point, there = found(net, images)
    assert point == OperationInput("mean", 1)
    expected = net.conv(images).relu() if forward is overwritten else net.conv(images)
    torch.testing.assert_close(there.activations, expected.detach())


def test_flattened_feature_maps():
    point, there = found(FlattenNet(), torch.randn(2, 3, 8, 8))
    assert point == OperationInput("flatten", 1)
    assert there.activations.shape == (2, 5, 8, 8)
    lenet = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    assert found(lenet, torch.randn(2, 3, 8, 8))[0] == LayerOutput("2")


class OneActivation(nn.Module):
    """Convolutions whose only activation is one module, as small networks are often written."""

    def __init__(self, depth):
        super().__init__()
        torch.manual_seed(depth)
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else 6, 6, 3, padding=1) for i in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(depth))
        self.relu, self.fc = nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.relu(norm(conv(x)))
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_an_activation_that_is_called_again_and_again(depth):
    net = OneActivation(depth).eval()
    point, captured = found(net, torch.rand(2, 3, 8, 8))
    assert point == LayerOutput("relu", call=0 if depth == 1 else depth)
    assert captured.activations.min() == 0  # after the last activation: before it there are negative values
    images, target = torch.rand(2, 3, 8, 8), torch.tensor([0, 2])
    separate = nn.Sequential(
        *(part for pair in zip(net.convs, net.norms, strict=True) for part in (*pair, nn.ReLU())),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.fc,
    ).eval()  # fmt: skip
    for explainer in (GradCAM(), ScoreCAM()):
        heatmaps = explainer(net, images, target)
        assert heatmaps.any()
        torch.testing.assert_close(heatmaps, explainer(separate, images, target))


class TestTokens:
    @pytest.mark.parametrize("image_size", [(16, 16), (16, 32), (24, 16), (8, 20)])
    @pytest.mark.parametrize("prefix", [1, 2, 5])
    def test_class_distillation_and_register_tokens_are_left_out(self, image_size, prefix):
        model = TinyViT(image_size, prefix)
        point, there = found(model, torch.randn(2, 3, *image_size))
        assert point == LayerOutput("blocks.1.norm")
        assert there.activations.shape == (2, 8, image_size[0] // 4, image_size[1] // 4)
        kept = []
        model.blocks[1].norm.register_forward_hook(lambda *args: kept.append(args[2]))
        model(torch.zeros(1, 3, *image_size))
        zero = found(model, torch.zeros(1, 3, *image_size))[1]
        torch.testing.assert_close(zero.activations[0].flatten(1).T, kept[0][0, prefix:].detach())

    def test_the_last_block_s_output_would_show_nothing(self):
        model, images = TinyViT(), torch.randn(1, 3, 16, 16)
        assert float(found(model, images, "blocks.1")[1].gradients.abs().max()) == 0  # only the class token is read
        assert float(found(model, images)[1].gradients.abs().max()) > 0

    def test_attention_written_out_with_its_norm_inside(self):
        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm, self.qkv, self.attend = nn.LayerNorm(8), nn.Linear(8, 24), nn.Softmax(-1)

            def forward(self, x, scale=1.0):
                heads = self.qkv(self.norm(x)).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
                weights = self.attend(heads[0] @ heads[1].transpose(-1, -2) * scale)
                return (weights @ heads[2]).transpose(1, 2).flatten(2)

        model = TinyViT()
        attention = Attention()
        model.blocks[1].forward = lambda x: x + attention(x=x + 0.0, scale=0.5)
        model.blocks[1].inner = attention
        point, there = found(model, torch.randn(2, 3, 16, 16))
        assert point == LayerInput("blocks.1.inner")
        assert str(point) == "the input of `blocks.1.inner`"
        assert there.activations.shape == (2, 8, 4, 4)
        assert float(there.gradients.abs().max()) > 0

    def test_query_key_and_value_are_all_differentiated(self):
        model = TinyViT()
        block = model.blocks[1]
        block.forward = lambda x: (lambda y: x + block.attention(y, y, y, need_weights=False)[0])(x + 0.0)
        point, there = found(model, torch.randn(1, 3, 16, 16))
        assert point == LayerInput("blocks.1.attention")
        assert float(there.gradients.abs().max()) > 0  # patches reach the class token as keys and values only


class TestNamed:
    images = torch.randn(2, 3, 8, 8)

    def test_a_name_a_module_and_a_list(self):
        net = ConvNet()
        classifier = Classifier(net)
        assert capture_points(classifier, "features.3", self.images) == [LayerOutput("features.3")]
        assert capture_points(classifier, net.features[3], self.images) == [LayerOutput("features.3")]
        several = capture_points(classifier, ["features.3", net.features, "auto"], self.images)
        assert several == [LayerOutput("features.3"), LayerOutput("features"), LayerOutput("features")]

    @pytest.mark.parametrize("compiled", ["root", "part", "layer"])
    def test_names_and_modules_of_compiled_networks(self, compiled):
        net = ConvNet().eval()
        layer = net.features[4]
        expected = GradCAM("features.4")(net, self.images, 1)
        model = net
        if compiled == "root":
            model = torch.compile(net, backend="eager")
        elif compiled == "part":
            net.features = torch.compile(net.features, backend="eager")
        else:
            layer = net.features[4] = torch.compile(net.features[4], backend="eager")
        with torch.no_grad():
            model(self.images)
        for target_layer in ("features.4", layer):
            assert torch.equal(GradCAM(target_layer)(model, self.images, 1), expected)
        if compiled != "root":
            assert torch.equal(GradCAM("features")(model, self.images, 1), GradCAM(net.features)(model, self.images, 1))

    def test_unknown_names_get_the_nearest(self):
        with pytest.raises(ValueError, match=r"Expected `target_layer` to be one of 'features', .* mean 'features'"):
            capture_points(Classifier(ConvNet()), "feature", self.images)

    def test_modules_of_another_model_are_refused(self):
        with pytest.raises(ValueError, match="Expected `target_layer` to be part of the model, but Conv2d is not"):
            capture_points(Classifier(ConvNet()), ConvNet().features[0], self.images)


class TestAutomatic:
    images = torch.randn(3, 3, 8, 8)

    def test_two_images_twice_per_model_and_said(self, caplog):
        net = ConvNet()
        with images_through(net) as count, caplog.at_level(logging.INFO, "lightning_xai"):
            for classifier in (Classifier(net), Classifier(net)):
                capture_points(classifier, "auto", self.images)
                capture_points(classifier, "auto", self.images)
        assert count[0] == 4  # a pair is looked at, and exchanged
        assert [r.getMessage() for r in caplog.records] == [
            "target_layer='auto' picked the output of `features` of ConvNet."
        ]
        forget(net)
        classifier = Classifier(net)
        capture_points(classifier, "auto", self.images)
        assert classifier.evaluations == 0

    @pytest.mark.parametrize(
        "model",
        [
            nn.Sequential(nn.Flatten(), nn.Linear(192, 2)),
            nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 2)).double(),
        ],
    )
    def test_a_model_without_feature_maps_is_said(self, model):
        message = r"logits of Sequential depend on to come past one tensor with space .* none. Name a layer.*: 0, 1"
        with pytest.raises(ValueError, match=message):
            capture_points(Classifier(model), "auto", self.images)

    def test_a_failed_search_leaves_no_hooks_and_can_be_repeated(self):
        class Failing(ConvNet):
            fail = True

            def forward(self, x):
                if self.fail:
                    raise KeyError("forward")
                return super().forward(x)

        net = Failing()
        with pytest.raises(KeyError):
            capture_points(Classifier(net), "auto", self.images)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
        net.fail = False
        assert capture_points(Classifier(net), "auto", self.images) == [LayerOutput("features")]

    def test_the_users_images_are_not_changed(self):
        net = nn.Sequential(nn.ReLU(inplace=True), *ConvNet())
        images = self.images.clone()
        capture_points(Classifier(net), "auto", images)
        assert torch.equal(images, self.images)


class TestImageOfChoice:
    """Two processes explain different images, of two sizes."""

    bright, dark = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8) - 1.0

    def chosen(self, images, net=None):
        return found(net or ByBrightness(), images)[0].name

    def test_control_each_chooses_by_its_own(self):
        assert self.chosen(self.bright) != self.chosen(self.dark)

    @pytest.mark.parametrize("earlier", [False, True], ids=["", "after a choice by its own"])
    def test_they_choose_by_the_same(self, earlier):
        one, other = nets = [ByBrightness(), ByBrightness()]
        for net, images in zip(nets, (self.bright, self.dark), strict=True):
            _ = earlier and self.chosen(images, net)
            look_at(net, [self.dark[0], self.bright[0], self.bright[0, :, :7]])
        assert self.chosen(self.bright.double(), one.double()) == self.chosen(self.dark, other)
        assert self.chosen(self.bright[:, :, :7], other) == self.chosen(self.bright)

    def test_the_first_stays(self):
        net = ByBrightness()
        look_at(net, [self.dark[0]])
        look_at(net, [self.bright[0]])
        assert self.chosen(self.bright, net) == self.chosen(self.dark)
        forget(net)
        assert self.chosen(self.bright, net) == self.chosen(self.bright)

    def test_the_same_choice_is_said_once(self, caplog):
        net = ConvNet()
        with caplog.at_level(logging.INFO, "lightning_xai"):
            capture_points(Classifier(net), "auto", self.bright)
            look_at(net, [self.dark[0]])
            capture_points(Classifier(net), "auto", self.bright)
        assert len(caplog.records) == 1


def test_the_choice_is_that_of_the_images_size():
    net = calibrated(torchvision.models.resnet18(num_classes=4), size=64)
    large, small = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 32, 32)
    first = [str(found(net, images)[0]) for images in (large, small)]
    forget(net)
    second = [str(found(net, images)[0]) for images in (small, large)]
    assert first == second[::-1] == ["the output of `layer4`", "the output of `layer3`"]


def test_the_choice_is_that_of_the_forward():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = ConvNet(), ConvNet()

    net, images = Two(), torch.randn(1, 3, 16, 16)
    for name in ("a", "b"):
        heatmaps = GradCAM(relu=False)(Classifier(net, Readout(forward=name)), images, 0)
        assert torch.equal(heatmaps, GradCAM(relu=False)(getattr(net, name), images, 0))
