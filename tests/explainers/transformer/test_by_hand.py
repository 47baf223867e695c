"""Maps computed by hand: two patches, or a class token and two patches, whose attention is given."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai import AttentionRollout, Classifier, TransformerAttribution
from tests._nets import TinyViT, images_through

FIRST = [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.4, 0.2, 0.4]]
SECOND = [[0.5, 0.0, 0.5], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]]
IMAGE = torch.tensor([[[[2.0, -1.0]]]])  # two patches of one pixel


class Given(nn.Module):
    """Tokens are pixels, after a class token that is 1; ``x ← x + A·x`` per block; the logits are y and −y."""

    def __init__(self, *blocks, prefix=True, read=lambda x: x[:, 0], pooling=None):
        super().__init__()
        self.blocks, self.prefix, self.read = [torch.tensor(block) for block in blocks], prefix, read
        self.pooling = None if pooling is None else torch.tensor(pooling)

    def forward(self, images):
        x = images.flatten(2).transpose(1, 2)
        if self.prefix:
            x = torch.cat([torch.ones_like(x[:, :1]), x], 1)
        for block in self.blocks:
            x = x + (block.log() + 0 * images.mean((2, 3))[:, :, None]).softmax(-1) @ x
        if self.pooling is not None:
            zero = torch.zeros(len(x), 1, len(self.pooling), 1)
            x = F.scaled_dot_product_attention(zero, x[:, None], x[:, None], attn_mask=self.pooling.log())[:, 0]
        y = self.read(x)
        return torch.cat([y, -y], 1)


def test_rollout_of_a_class_token():
    """(A + I) / 2 per block; the first row of the second, [.75, 0, .25], times the first."""
    heatmap = AttentionRollout()(Given(FIRST, SECOND), IMAGE, 0)
    expected = [0.75 * 0.125 + 0.25 * 0.1, 0.75 * 0.125 + 0.25 * 0.7]
    torch.testing.assert_close(heatmap, torch.tensor([[expected]]))


def test_rollout_without_a_class_token():
    """The mean of the rows of (A + I) / 2."""
    net = Given([[0.2, 0.8], [0.6, 0.4]], prefix=False, read=lambda x: x.mean(1))
    heatmap = AttentionRollout()(net, IMAGE, 0)
    torch.testing.assert_close(heatmap, torch.tensor([[[(0.6 + 0.3) / 2, (0.4 + 0.7) / 2]]]))


def test_rollout_of_an_attention_that_pools():
    """Its row has no residual connection: [.9, .1] times (A + I) / 2."""
    net = Given([[0.2, 0.8], [0.6, 0.4]], prefix=False, pooling=[[0.9, 0.1]])
    heatmap = AttentionRollout()(net, IMAGE, 0)
    torch.testing.assert_close(heatmap, torch.tensor([[[0.9 * 0.6 + 0.1 * 0.3, 0.9 * 0.4 + 0.1 * 0.7]]]))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # x = [1, 2, -1], after the first block [1.75, 3.2, -.6]; ∂y/∂x after it is [1.5, 0, .5].
        # second: row 0 is [.5·1.75, 0, .5·-.6]⁺; first: rows 0 and 2 are [.75, .75, 0] and [.2, .2, 0].
        (0, [0.75 + 0.875 * 0.75, 0.0]),
        # all signs turned: second: row 0 is [0, 0, .3]; first: rows 0 and 2 are [0, 0, .375] and [0, 0, .2].
        (1, [0.0, 0.375 + 0.3 + 0.3 * 0.2]),
    ],
)
def test_attribution_of_a_class_token(target, expected):
    heatmap = TransformerAttribution()(Given(FIRST, SECOND), IMAGE, target)
    torch.testing.assert_close(heatmap, torch.tensor([[expected]]))


def test_attribution_without_a_class_token():
    """Half of each row's [A ⊙ x]⁺, averaged again over the rows; the identity is left out."""
    net = Given([[0.2, 0.8], [0.6, 0.4]], prefix=False, read=lambda x: x.mean(1))
    heatmap = TransformerAttribution()(net, IMAGE, 0)
    torch.testing.assert_close(heatmap, torch.tensor([[[(0.2 + 0.6) / 2, 0.0]]]))


def test_attribution_of_an_attention_that_pools():
    """x after the block is [1.6, -.2]: the pooling's row [.9·1.6, 0], and that times the block's [.9·.2·2, 0]⁺."""
    net = Given([[0.2, 0.8], [0.6, 0.4]], prefix=False, pooling=[[0.9, 0.1]])
    heatmap = TransformerAttribution()(net, IMAGE, 0)
    torch.testing.assert_close(heatmap, torch.tensor([[[1.44 + 1.44 * 0.36, 0.0]]]))


def test_a_block_that_raises_nothing_leaves_a_map_of_zeros():
    net = Given(FIRST, read=lambda x: 0 * x[:, 0])
    assert not TransformerAttribution()(net, IMAGE, 0).any()


def test_rollout_evaluates_one_image_more_for_a_new_model_and_a_new_size():
    net = TinyViT()
    for size, cost in (((5, 3, 16, 16), 6), ((5, 3, 16, 16), 5), ((2, 3, 16, 16), 2)):
        classifier = Classifier(net, chunk_size=2)
        with images_through(net) as count:
            AttentionRollout()(classifier, torch.randn(size), 0)
        assert (count[0], classifier.evaluations) == (cost, cost)


def test_attribution_evaluates_once():
    net = TinyViT()
    classifier = Classifier(net, chunk_size=2)
    with images_through(net) as count:
        TransformerAttribution()(classifier, torch.randn(5, 3, 16, 16), 0)
    assert (count[0], classifier.evaluations) == (5, 5)


def test_a_head_that_is_still_zero_is_looked_at_again():
    """Nothing has a gradient: the first token is taken; once the head is trained, what it reads."""
    net = Given(FIRST, SECOND, read=lambda x: net.scale * x[:, 2])
    net.scale = 0.0
    first = AttentionRollout()(net, IMAGE, 0)
    torch.testing.assert_close(first, AttentionRollout()(Given(FIRST, SECOND), IMAGE, 0))
    net.scale = 1.0
    heatmap = AttentionRollout()(net, IMAGE, 0)  # row 2 of the second, [0, .5, .5], times the first
    torch.testing.assert_close(heatmap, torch.tensor([[[0.5 * 0.8 + 0.5 * 0.1, 0.5 * 0.1 + 0.5 * 0.7]]]))
