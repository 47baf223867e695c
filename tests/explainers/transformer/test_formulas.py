"""Both explainers against the papers' definitions, on networks whose attention is computed naively beside them."""

import copy

import pytest
import torch
from torch.nn import functional as F

from lightning_xai import AttentionRollout, TransformerAttribution
from tests.explainers.transformer import _naive

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
TARGET = torch.tensor([2, 0, 3])


@pytest.fixture(params=_naive.NETWORKS)
def network(request):
    """Return a network, its weights (block, head, image) and their gradients in float64, and the rows read."""
    build, forward, rows = _naive.NETWORKS[request.param]
    net = build().eval()
    logits, maps = forward(copy.deepcopy(net).double(), IMAGES.double())
    torch.testing.assert_close(net(IMAGES), logits.float(), rtol=1e-4, atol=1e-5)
    score = logits.gather(1, TARGET[:, None]).sum()
    flat = torch.autograd.grad(score, [head for heads in maps for head in heads])
    return net, maps, [flat[2 * block : 2 * block + 2] for block in range(len(maps))], rows


def enlarged(maps):
    """Resize as explainers do; the constant that the identity adds to every patch is no part of the comparison."""
    return F.interpolate(torch.stack(maps)[:, None], size=(16, 16), mode="bilinear", align_corners=False)[:, 0]


def of_image(blocks, image):
    return [[head[image].detach() for head in heads] for heads in blocks]


def test_rollout(network):
    net, maps, _, rows = network
    expected = enlarged([_naive.rollout(of_image(maps, i), rows) for i in range(3)])
    torch.testing.assert_close(AttentionRollout()(net, IMAGES, TARGET), expected.float(), rtol=1e-4, atol=1e-6)


def test_attribution(network):
    net, maps, gradients, rows = network
    naive = [_naive.attribution(of_image(maps, i), of_image(gradients, i), rows) for i in range(3)]
    tokens = len(maps[0][0][0])
    read = torch.arange(tokens)[rows]
    identity = torch.eye(tokens, dtype=torch.float64)[read].mean(0)[-1]  # what R − I leaves out: the same everywhere
    expected = (enlarged(naive) - identity).float()
    found = TransformerAttribution()(net, IMAGES, TARGET)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert float(expected.std()) > 1e-3 * float(expected.max())
