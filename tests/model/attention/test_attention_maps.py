import copy
from contextlib import nullcontext

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_xai import Classifier, Readout
from lightning_xai.model.attention.attention_maps import attention_maps, read_rows
from tests._nets import ConvNet, TinyViT

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
TARGET = torch.tensor([1, 3, 0])


def found(net, images=IMAGES, target=TARGET, **settings):
    return attention_maps(Classifier(net), images, target, **settings)


def assert_same(first, second, **tolerance):
    assert first.grid == second.grid
    torch.testing.assert_close(first.weights, second.weights, **tolerance)
    torch.testing.assert_close(first.gradients, second.gradients, **tolerance)


def test_shapes_grid_and_types():
    maps = found(TinyViT(prefix=3).bfloat16())
    assert maps.grid == (4, 4)
    for tensor in (*maps.weights, *maps.gradients):
        assert (tensor.shape, tensor.dtype, tensor.requires_grad) == ((3, 2, 19, 19), torch.float32, False)
    assert found(TinyViT(), gradients=False).gradients is None


def test_images_that_are_not_square():
    maps = found(TinyViT((8, 24)), torch.randn(3, 3, 8, 24))
    assert maps.grid == (2, 6)


def test_the_negated_logit_of_a_binary_model_turns_the_gradient():
    net = TinyViT(classes=1)
    positive, negative = found(net, target=torch.ones(3).long()), found(net, target=torch.zeros(3).long())
    torch.testing.assert_close(positive.gradients, [-gradient for gradient in negative.gradients])


class Wrapped(nn.Module):
    """A backbone that runs in a way of its own."""

    def __init__(self, net, run):
        super().__init__()
        self.net, self.run = net, run

    def forward(self, x):
        x = self.net.patches(x).flatten(2).transpose(1, 2) + self.net.position
        x = torch.cat([self.net.prefix.expand(len(x), -1, -1), x], 1)
        return self.net.head(self.run(self.net.blocks, x)[:, 0])


def without_graph(blocks, x):
    with torch.no_grad():
        return blocks(x)


@pytest.mark.parametrize(
    "run",
    [without_graph, lambda blocks, x: checkpoint(blocks, x, use_reentrant=False)],
    ids=["no_grad", "checkpoint"],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_blocks_that_run_without_a_graph_or_twice(run, frozen):
    net = TinyViT().requires_grad_(not frozen)
    assert_same(found(Wrapped(net, run)), found(net))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(
    "run",
    [
        lambda blocks, x: blocks(x).detach(),
        lambda blocks, x: checkpoint(blocks, x, use_reentrant=True),
        lambda blocks, x: blocks[1](blocks[0](x).detach()),
    ],
    ids=["detached", "reentrant checkpoint", "detached between"],
)
def test_weights_that_no_gradient_reaches(run):
    net = Wrapped(TinyViT(), run)
    with pytest.raises(RuntimeError, match="to depend on the attention weights differentiably, but no gradient"):
        found(net)
    maps = found(net, gradients=False)
    assert len(maps.weights) == 2
    rows = read_rows(Classifier(net), IMAGES, maps)
    assert rows.nonzero().tolist() == [[0, 0], [1, 0], [2, 0]]


def test_no_grad_outside_and_frozen_parameters():
    net = TinyViT()
    expected, frozen = found(net), copy.deepcopy(net).requires_grad_(False)
    for outside in (torch.no_grad(), torch.inference_mode(), nullcontext()):
        with outside:
            maps = found(frozen, IMAGES.clone())
        assert_same(maps, expected)


class ByHand(nn.Module):
    """Attention of one head, (N, T, T), or of heads beside the images, (N·heads, T, T)."""

    def __init__(self, heads):
        super().__init__()
        self.patches, self.project, self.head, self.heads = (
            nn.Conv2d(3, 6, 4, 4),
            nn.Linear(6, 18),
            nn.Linear(6, 4),
            heads,
        )

    def split(self, x):
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2).flatten(0, 1)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        query, key, value = (self.split(part) for part in self.project(x).chunk(3, 2))
        self.weights = torch.bmm(query, key.transpose(1, 2)).softmax(-1)
        out = torch.bmm(self.weights, value).unflatten(0, (len(x), self.heads)).transpose(1, 2).flatten(2)
        return self.head((x + out).mean(1))


@pytest.mark.parametrize("heads", [1, 2])
def test_heads_beside_the_images(heads):
    net = ByHand(heads)
    maps = found(net)
    assert maps.weights[0].shape == (3, heads, 16, 16)
    net(IMAGES[1:2])
    torch.testing.assert_close(maps.weights[0][1], net.weights.detach())
    assert bool(read_rows(Classifier(net), IMAGES, maps).all())


def test_rows_that_are_read_do_not_depend_on_gradients_being_asked_for():
    net = TinyViT(prefix=2)
    net.head = nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Flatten(), net.head)
    for maps in (found(net), found(net, gradients=False)):
        assert read_rows(Classifier(net), IMAGES, maps).tolist() == [[True] + 17 * [False]] * 3


REFUSED = {
    "a CNN": (ConvNet, "but ConvNet computes no attention that can be seen"),
    "torchvision's Swin": (
        lambda: torchvision.models.SwinTransformer([2, 2], 8, [2], [2], [4, 4], num_classes=4),
        r"but SwinTransformer has windowed attention: weights of shape \(12, 2, 16, 16\)",
    ),
    "timm's Swin": (
        lambda: timm.models.SwinTransformer(
            16, 2, num_classes=4, embed_dim=8, depths=(1,), num_heads=(2,), window_size=4
        ),
        r"but SwinTransformer has windowed attention: weights of shape \(12, 2, 16, 16\)",
    ),
    "PVT": (
        lambda: timm.models.PyramidVisionTransformerV2(
            num_classes=4, depths=(1, 1), embed_dims=(8, 8), num_heads=(1, 1), sr_ratios=(2, 1), mlp_ratios=(1, 1)
        ),
        "but PyramidVisionTransformerV2 has attention of several sizes or without a grid",
    ),
    "CaiT": (
        lambda: timm.models.Cait(16, 4, num_classes=4, embed_dim=8, depth=1, num_heads=2),
        "but Cait has attention of several sizes or without a grid",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_are_refused(name):
    build, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"Expected a vision transformer .* for rollout, {message}.*Use GradCAM"):
        found(build(), gradients=False, what="rollout")


def test_the_rows_are_those_that_the_readout_reads():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.vit, self.first, self.mean = TinyViT(), nn.Linear(8, 4), nn.Linear(8, 4)
            self.vit.head = nn.Identity()

        def forward(self, x):
            tokens = self.vit.patches(x).flatten(2).transpose(1, 2) + self.vit.position
            tokens = self.vit.blocks(torch.cat([self.vit.prefix.expand(len(x), -1, -1), tokens], 1))
            return {"first": self.first(tokens[:, 0]), "mean": self.mean(tokens[:, 1:].mean(1))}

    net, images, zero = TwoHeads(), torch.randn(1, 3, 16, 16), torch.zeros(1, dtype=torch.long)
    for place in ("first", "mean", lambda output: output["first"]):
        classifier = Classifier(net, Readout(logits_from_output=place))
        found = attention_maps(classifier, images, zero, gradients=False)
        rows = read_rows(classifier, images, found)[0].tolist()
        assert rows == ([False] + [True] * 16 if place == "mean" else [True] + [False] * 16)
