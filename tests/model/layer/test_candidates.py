"""Heads, side branches and towers of the kinds that people have: the layer, and the same map as with it named."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import Classifier, GradCAM
from lightning_xai.model.layer.points import LayerOutput, OperationInput, OperationOutput
from lightning_xai.model.layer.search import attends_globally, capture_points
from tests._nets import ConvNet, TinyViT

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def picked(net, images=IMAGES):
    return capture_points(Classifier(net.eval()), "auto", images)[0]


def assert_is_the_map_of(net, name, images=IMAGES):
    """Two ways to the same numbers: the layer that was found, and the one that a person names."""
    expected = GradCAM(name, relu=False)(net.eval(), images, torch.tensor([0, 1]))
    assert float(expected.std()) > 0
    torch.testing.assert_close(GradCAM(relu=False)(net, images, torch.tensor([0, 1])), expected)


class TokenNet(nn.Module):
    """Tokens of patches, merged two by two, without attention; a head that pools them."""

    def __init__(self, pool):
        super().__init__()
        self.stem, self.mlp, self.merge = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 6), nn.Linear(24, 10)
        self.norm, self.head, self.pool = nn.LayerNorm(10), nn.Linear(10, 4), pool

    def forward(self, x):
        x = self.stem(x)
        count, channels, height, width = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = (x + self.mlp(x)).view(count, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
        x = self.norm(self.merge(x.reshape(count, height * width // 4, 4 * channels)))
        return self.head(self.pool(x))


TOKEN_POOLS = {
    "mean": lambda t: t.mean(1),
    "AdaptiveAvgPool1d": lambda t: nn.AdaptiveAvgPool1d(1)(t.transpose(1, 2)).flatten(1),
    "transpose and mean": lambda t: t.transpose(1, 2).mean(-1),
    "avg_pool1d": lambda t: F.avg_pool1d(t.transpose(1, 2), t.shape[1]).flatten(1),
    "adaptive_max_pool1d": lambda t: F.adaptive_max_pool1d(t.transpose(1, 2), 1).flatten(1),
    "weighted sum by einsum": lambda t: torch.einsum("btc,bt->bc", t, t.mean(-1).softmax(1)),
    "max": lambda t: t.max(1).values,
    # neighbours
    "logsumexp": lambda t: t.logsumexp(1),
    "sum over count": lambda t: t.sum(1) / t.shape[1],
    "weighted sum by matmul": lambda t: (t.mean(-1, keepdim=True).softmax(1).transpose(1, 2) @ t)[:, 0],
    "mean of the largest": lambda t: t.topk(3, 1).values.mean(1),
    "mean and max": lambda t: t.mean(1) + t.amax(1),
    "generalised mean": lambda t: t.permute(0, 2, 1).clamp(min=1e-3).pow(3).mean(2).pow(1 / 3),
    "back to maps": lambda t: t.transpose(1, 2).reshape(len(t), 10, 4, 4).mean((2, 3)),
    "gated": lambda t: (t * torch.sigmoid(t.mean(2, keepdim=True))).mean(1),
}


LATER = {"back to maps": OperationInput("mean", 1), "gated": OperationInput("mean", 2)}  # what the head itself makes


@pytest.mark.parametrize("name", TOKEN_POOLS)
def test_tokens_pooled_by_anything(name):
    net = TokenNet(TOKEN_POOLS[name])
    assert picked(net) == LATER.get(name, LayerOutput("norm"))
    if name not in LATER:
        assert_is_the_map_of(net, "norm")


class Features(nn.Module):
    """Convolutions, and a function of layers as the head."""

    def __init__(self, head, **layers):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh())
        self.a, self.b, self.head = nn.Linear(8, 3), nn.Linear(8, 3), head
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.head(self, self.f(x))


class SameTensor(nn.Module):
    def forward(self, x):
        return x


def two_heads(net, x):
    return net.a(x.mean((2, 3))) + 0.1 * net.b(net.drop(x).mean((2, 3)))


PASSING = {
    "dropout": nn.Dropout2d(0.2),
    "identity": nn.Identity(),
    "own": SameTensor(),
    "nested": nn.Sequential(nn.Identity()),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_module_that_passes_its_input_on_does_not_lend_its_name(name):
    net = Features(two_heads, drop=PASSING[name])
    assert picked(net) == LayerOutput("f")
    assert_is_the_map_of(net, "f")


SIDES = {
    "an output that is not the logits": lambda net, x: (net.a(x.mean((2, 3))), net.b(net.drop(x).tanh().mean((2, 3)))),
    "squeeze and excitation beside": lambda net, x: net.a(x.mean((2, 3))) * net.b(x.mean((2, 3))).sigmoid(),
    "a branch with a convolution": lambda net, x: net.a(x.mean((2, 3))) + net.b(net.f[2](x).amax((2, 3))),
    "a branch that is zero": lambda net, x: net.a(x.mean((2, 3))) + 0 * net.b(net.f[2](x).mean((2, 3))),
}


@pytest.mark.parametrize("name", SIDES)
def test_a_side_branch_is_not_taken(name):
    net = Features(SIDES[name], drop=nn.Dropout(0.1))
    assert picked(net) == LayerOutput("f")
    assert_is_the_map_of(net, "f")


class Adapted(nn.Module):
    """As LoRA adapts a layer: a dropout, which is an identity, two small convolutions, and a sum."""

    def __init__(self, base, dropout):
        super().__init__()
        self.base, self.dropout = base, dropout
        self.down, self.up = nn.Conv2d(8, 2, 1, bias=False), nn.Conv2d(2, 8, 1, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(self.dropout(x)))


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("dropout", [nn.Identity(), nn.Dropout(0.1)], ids=["identity", "dropout"])
def test_an_adapter_is_not_taken(dropout, zero):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), Adapted(nn.Conv2d(8, 8, 3, padding=1), dropout))
    net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)])
    if zero:
        nn.init.zeros_(net[2].up.weight)  # as it starts
    assert picked(net) == LayerOutput("2")
    assert_is_the_map_of(net, "2")


class Windowed(nn.Module):
    """Attention within windows, whose first axis is images times windows; then a pooling of whole images."""

    def __init__(self, pool):
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 12, 2, 2), nn.MultiheadAttention(12, 2, batch_first=True)
        self.head, self.pool = nn.Linear(12, 4), pool

    def forward(self, x):
        x = self.patches(x)
        count, channels, height, width = x.shape
        windows = x.view(count, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 12)
        windows = windows + self.attention(windows, windows, windows, need_weights=False)[0]
        whole = windows.view(count, height // 4, width // 4, 4, 4, channels).transpose(2, 3)
        return self.head(self.pool(whole.reshape(count, height, width, channels)))


WINDOW_POOLS = {
    "mean": lambda x: x.mean((1, 2)),
    "flatten": lambda x: x.flatten(1, 2).mean(1),
    "amax": lambda x: x.amax((1, 2)),
}


@pytest.mark.parametrize("name", WINDOW_POOLS)
def test_windows_of_images_are_put_together_first(name):
    net, seen = Windowed(WINDOW_POOLS[name]), []
    assert picked(net) == OperationInput(name, 1)
    assert not attends_globally(net)
    heatmaps = GradCAM(relu=False)(net, IMAGES, 0)
    net.pool = lambda x: seen.append(x) or WINDOW_POOLS[name](x)
    (slope,) = torch.autograd.grad(net(IMAGES)[:, 0].sum(), seen)
    expected = torch.einsum("nhwc,nc->nhw", seen[0], slope.mean((1, 2))).detach()
    expected = F.interpolate(expected[:, None], size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(heatmaps, expected)


class TwoTowers(nn.Module):
    """Images against fixed texts, as many as there are images or not, whose tower runs last and attends."""

    def __init__(self, texts):
        super().__init__()
        self.vision, self.text = ConvNet(classes=6), nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
        self.vision.fc, self.project, self.embed = nn.Linear(12, 8), nn.Linear(8, 8), nn.Embedding(20, 8)
        self.register_buffer("tokens", torch.randint(20, (texts, 9), generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        seen = F.normalize(self.project(self.vision(x)), dim=-1)
        return seen @ F.normalize(self.text(self.embed(self.tokens))[:, 0], dim=-1).T


@pytest.mark.parametrize("texts", [2, 3, 4])
def test_a_text_tower_is_not_taken(texts):
    net = TwoTowers(texts)
    assert picked(net) == LayerOutput("vision.features")
    assert_is_the_map_of(net, "vision.features")


def test_a_scripted_backbone_is_read_where_its_maps_are_used():
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh())

    class Scripted(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part, self.fc = part, nn.Linear(8, 3)

        def forward(self, x):
            return self.fc(self.part(x).mean((2, 3)))

    plain = Scripted(backbone)
    net = Scripted(torch.jit.script(backbone))
    net.fc = plain.fc
    assert picked(net) == OperationInput("mean", 1)
    expected = GradCAM("part", relu=False)(plain, IMAGES, 0)
    torch.testing.assert_close(GradCAM(relu=False)(net, IMAGES, 0), expected)


class TestNoneIsRight:
    @pytest.mark.parametrize(
        "head",
        [
            lambda x, y: torch.cat([x.mean((2, 3)), y.mean((2, 3))], 1),
            lambda x, y: torch.cat([x.amax((2, 3)), y.flatten(2).logsumexp(2)], 1),
            lambda x, y: torch.cat([x.tanh().mean((2, 3)), y.tanh().mean((2, 3))], 1),
        ],
    )
    def test_two_columns_from_the_image_on(self, head):
        class Columns(nn.Module):
            def __init__(self):
                super().__init__()
                self.left, self.right, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5), nn.Linear(8, 3)

            def forward(self, x):
                return self.fc(head(self.left(x), self.right(x)))

        with pytest.raises(ValueError, match=r"to come past one tensor with space .* or several: left, right, fc"):
            picked(Columns())

    def test_the_image_goes_round(self):
        net = Features(lambda net, x: net.a(x.mean((2, 3))))
        forward = net.forward
        net.forward = lambda x: forward(x) + x.mean((2, 3))
        with pytest.raises(ValueError, match="to come past one tensor with space"):
            picked(net)


def test_a_head_that_is_still_zero_leaves_the_structure():
    for net, name in ((ConvNet(), "features"), (TinyViT(), "blocks.1.norm")):
        nn.init.zeros_(net.get_submodule("head" if isinstance(net, TinyViT) else "fc").weight)
        assert picked(net) == LayerOutput(name)


def test_a_model_that_draws_leaves_the_structure():
    class Drawing(ConvNet):
        def forward(self, x):
            return super().forward(F.dropout(x, 0.5, training=True))

    assert picked(Drawing()) == LayerOutput("features")


def test_several_stages_that_are_pooled_meet_in_the_first_of_them():
    net = Features(lambda net, x: net.a(x.mean((2, 3))) + net.b(net.c(x).mean((2, 3))), c=nn.Conv2d(8, 8, 3, 2, 1))
    assert picked(net) == LayerOutput("f")


class TestDoubts:
    def warned(self, caplog, net, size):
        with caplog.at_level(logging.WARNING, "lightning_xai"):
            for _ in range(2):
                picked(net, torch.randn(1, 3, *size))
                picked(net, torch.randn(1, 3, size[0] * 2, size[1] * 2))
        return [record.getMessage() for record in caplog.records]

    @pytest.mark.parametrize(("size", "grid"), [((4, 4), "2 x 2"), ((6, 6), "3 x 3"), ((4, 12), "2 x 6")])
    def test_few_places_are_said_once(self, caplog, size, grid):
        (message,) = self.warned(caplog, ConvNet(), size)
        assert message == (
            f"target_layer='auto' picked the output of `features` of ConvNet, which holds only {grid} places: heatmaps "
            "will show little. Name another layer, or use larger images."
        )

    def test_enough_places_are_not(self, caplog):
        assert self.warned(caplog, ConvNet(), (8, 8)) == []

    @pytest.mark.parametrize(("late", "expected"), [(2, []), (4, ["comes before 67% of the layers that compute maps"])])
    def test_a_choice_before_most_of_the_network_is_said(self, caplog, late, expected):
        columns = [nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(late // 2))) for _ in range(2)]
        net = Features(
            lambda net, x: net.a(net.left(x).mean((2, 3))) + net.b(net.right(x).mean((2, 3))),
            left=columns[0], right=columns[1],
        )  # fmt: skip
        messages = self.warned(caplog, net, (16, 16))
        assert len(messages) == len(expected)
        assert all(text in message for text, message in zip(expected, messages, strict=True))


def test_what_is_written_in_place_later_is_taken_as_it_is_read():
    def head(net, x):
        y = net.f[2](x)
        y.relu_()
        return net.a(y.mean((2, 3)))

    net = Features(head)
    assert picked(net) == OperationInput("mean", 1)
    assert not isinstance(picked(net), OperationOutput)
