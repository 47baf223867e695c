import pytest
import torch
from torch import nn

from lightning_xai import Classifier
from lightning_xai.model.layer.candidates import Candidate
from lightning_xai.model.layer.exchange import Exchange, two_images
from lightning_xai.model.layer.points import LayerInput, LayerOutput, OperationInput, OperationOutput
from tests._nets import ConvNet, TinyViT


def exchange_of(net, size=(8, 8)):
    classifier, pair = Classifier(net.eval()), two_images(torch.randn(3, 3, *size))
    with torch.no_grad():
        return Exchange(classifier, pair, classifier.forward_uncounted(pair))


def carries_all(exchange, point, grid=(4, 4), around=None):
    with torch.no_grad():
        return exchange.carrier(Candidate(point, grid, 0.0, around)) is not None


class TestTwoImages:
    def test_the_first_and_its_pixels_in_another_order(self):
        images = torch.randn(3, 3, 5, 7)
        first, other = two_images(images)
        assert torch.equal(first, images[0])
        pixels = [sorted(map(tuple, image.flatten(1).T.tolist())) for image in (first, other)]
        assert pixels[0] == pixels[1]
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
    def test_of_one_colour(self, dtype):
        pair = two_images(torch.full((1, 3, 4, 4), 3, dtype=dtype))
        assert pair.dtype == dtype
        assert not torch.equal(*pair)

    def test_draws_nothing(self):
        before = torch.get_rng_state()
        two_images(torch.zeros(1, 1, 2, 2))
        assert torch.equal(torch.get_rng_state(), before)


class Sides(ConvNet):
    """A side branch reads the first convolution."""

    def forward(self, x):
        first = self.features[0](x)
        return self.fc(self.flatten(self.pool(self.features[1:](first)))) + first.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (LayerOutput("features.0"), True),
        (LayerOutput("features.2"), False),
        (LayerOutput("features.6"), False),
        (OperationOutput("conv2d", 1), True),
        (OperationInput("conv2d", 1), True),
        (LayerInput("pool"), False),
        (LayerOutput("features"), False),  # is not called
        (LayerOutput("dropout"), False),
    ],
)
def test_whether_another_way_leads_round_it(point, expected):
    assert carries_all(exchange_of(Sides()), point) is expected


def test_class_tokens_that_go_round():
    exchange = exchange_of(TinyViT(), (16, 16))
    norm, block = LayerOutput("blocks.1.norm"), LayerOutput("blocks.0")
    assert carries_all(exchange, norm, (4, 4), block)
    assert not carries_all(exchange, norm, (4, 4))  # the class token also comes by the sum
    assert carries_all(exchange, block)
    assert not carries_all(exchange, LayerOutput("blocks.0.norm"), (4, 4), LayerOutput("blocks.1.norm"))


def test_a_head_of_zeros_shows_nothing():
    net = ConvNet()
    assert exchange_of(net).informative
    nn.init.zeros_(net.fc.weight)
    assert not exchange_of(net).informative


def test_a_model_that_draws():
    class Drawing(ConvNet):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 1)

    with torch.no_grad():
        assert exchange_of(ConvNet()).of_images_exchanges_logits()
        assert not exchange_of(Drawing()).of_images_exchanges_logits()
