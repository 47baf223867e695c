import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_xai.model.attention.explicit_attention import ExplicitAttention

GENERATOR = torch.Generator().manual_seed(0)
QUERY, KEY, VALUE = (torch.randn(2, 4, 5, 3, generator=GENERATOR) for _ in range(3))
MASK = torch.rand(2, 1, 5, 5, generator=GENERATOR) > 0.4
MASK[..., 0] = True  # a row without any key has no softmax


def naive(query, key, added=0.0, scale=3**-0.5):
    scores = (scale * torch.einsum("nhqd,nhkd->nhqk", query.double(), key.double()) + added).exp()
    return scores / scores.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, naive(QUERY, KEY)),
        ({"scale": 2.0}, naive(QUERY, KEY, scale=2.0)),
        ({"attn_mask": MASK}, naive(QUERY, KEY, torch.where(MASK, 0.0, -torch.inf))),
        ({"attn_mask": MASK.float()}, naive(QUERY, KEY, MASK.float())),
        ({"is_causal": True}, naive(QUERY, KEY, torch.full((5, 5), -torch.inf).triu(1))),
    ],
    ids=["plain", "scale", "boolean mask", "mask", "causal"],
)
def test_fused_attention_and_its_weights(settings, expected):
    with ExplicitAttention() as explicit:
        output = F.scaled_dot_product_attention(QUERY, KEY, VALUE, **settings)
    (found,) = explicit.weights
    torch.testing.assert_close(found.values, expected.float())
    assert found.edge is None
    torch.testing.assert_close(output, F.scaled_dot_product_attention(QUERY, KEY, VALUE, **settings))


def test_keys_shared_by_heads():
    with ExplicitAttention() as explicit:
        output = F.scaled_dot_product_attention(QUERY, KEY[:, :2], VALUE[:, :2], enable_gqa=True)
    torch.testing.assert_close(explicit.weights[0].values, naive(QUERY, KEY[:, [0, 0, 1, 1]]).float())
    torch.testing.assert_close(
        output, F.scaled_dot_product_attention(QUERY, KEY[:, [0, 0, 1, 1]], VALUE[:, [0, 0, 1, 1]])
    )


def test_dropout_that_a_model_applies_always_stays():
    with ExplicitAttention() as explicit:
        output = F.scaled_dot_product_attention(QUERY, KEY, VALUE, dropout_p=1.0)
    assert not output.any()
    torch.testing.assert_close(explicit.weights[0].values.sum(-1), torch.ones(2, 4, 5))


def test_the_gradient_is_that_by_the_weights():
    query, value = QUERY.clone().requires_grad_(), VALUE.clone()
    with ExplicitAttention() as explicit:
        score = (F.scaled_dot_product_attention(query, KEY, value) ** 2).sum()
    weights = naive(QUERY, KEY).requires_grad_()
    (expected,) = torch.autograd.grad(((weights @ value.double()) ** 2).sum(), weights)
    (gradient,) = torch.autograd.grad(score, [explicit.weights[0].edge])
    torch.testing.assert_close(gradient, expected.float())


def attention(**settings):
    return nn.MultiheadAttention(6, 2, **settings).eval()


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("inside", [torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("asked", [{"need_weights": False}, {}, {"average_attn_weights": False}], ids=str)
def test_multihead_attention_returns_what_it_was_asked_for(batch_first, bias, inside, asked):
    layer, tokens = attention(batch_first=batch_first, bias=bias), torch.randn(3, 3, 6)
    with inside():
        expected = layer(tokens, tokens, tokens, **asked)
        with ExplicitAttention() as explicit:
            found = layer(tokens, tokens, tokens, **asked)
    torch.testing.assert_close(found, expected)
    ordered = tokens if batch_first else tokens.transpose(0, 1)
    projected = (
        F.linear(ordered, layer.in_proj_weight, layer.in_proj_bias).unflatten(2, (3, 2, 3)).permute(2, 0, 3, 1, 4)
    )
    torch.testing.assert_close(explicit.weights[0].values, naive(projected[0], projected[1]).float())


def test_multihead_attention_has_the_gradient_of_its_weights():
    layer, tokens = attention(batch_first=True), torch.randn(3, 5, 6)
    readout = torch.randn(3, 5, 6)
    with ExplicitAttention() as explicit:
        score = (layer(tokens, tokens, tokens, need_weights=False)[0] * readout).sum()
    (gradient,) = torch.autograd.grad(score, [explicit.weights[0].edge])
    values = F.linear(tokens, layer.in_proj_weight[12:], layer.in_proj_bias[12:]).unflatten(2, (2, 3))
    upstream = (readout @ layer.out_proj.weight).unflatten(2, (2, 3))  # score = Σ_nqhd upstream · Σ_k A_nhqk · values
    expected = torch.einsum("nqhd,nkhd->nhqk", upstream, values)
    torch.testing.assert_close(gradient.view(3, 2, 5, 5), expected)


def test_masks_of_multihead_attention():
    layer, tokens = attention(batch_first=True), torch.randn(3, 5, 6)
    padding = torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 3 + [True] * 2])
    with ExplicitAttention() as explicit:
        layer(tokens, tokens, tokens, key_padding_mask=padding, need_weights=False)
    values = explicit.weights[0].values
    assert bool((values.amax((1, 2)) == 0).eq(padding).all())
    torch.testing.assert_close(values.sum(-1), torch.ones(3, 2, 5))


@pytest.mark.parametrize("inside", [torch.no_grad, torch.inference_mode])
def test_the_fast_path_of_an_encoder_is_not_taken(inside):
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    encoder, tokens = nn.TransformerEncoder(layer, 3).eval(), torch.randn(2, 5, 6)
    with inside():
        expected = encoder(tokens)
        with ExplicitAttention() as explicit:
            found = encoder(tokens)
    torch.testing.assert_close(found, expected)
    assert [tuple(weights.values.shape) for weights in explicit.weights] == [(2, 2, 5, 5)] * 3
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "softmax",
    [
        lambda scores: scores.softmax(-1),
        lambda scores: scores.softmax(dim=3),
        lambda scores: torch.softmax(scores, -1),
        lambda scores: torch.softmax(input=scores, dim=-1),
        lambda scores: F.softmax(scores, dim=-1, dtype=torch.float32),
        nn.Softmax(dim=-1),
    ],
)
def test_attention_by_hand_is_seen(softmax):
    scores = torch.randn(2, 3, 5, 5, requires_grad=True)
    with ExplicitAttention() as explicit:
        weights = softmax(scores)
    (found,) = explicit.weights
    assert torch.equal(found.values, weights)
    (gradient,) = torch.autograd.grad((weights**2).sum(), [found.edge])
    torch.testing.assert_close(gradient, 2 * weights)


@pytest.mark.parametrize(
    ("size", "axis", "seen"),
    [
        ((2, 5, 5), -1, True),
        ((2, 3, 4, 5), 3, True),
        ((2, 3, 5, 5), 2, False),
        ((2, 3, 5, 5), 1, False),
        ((2, 3, 5, 1), -1, False),
        ((2, 4, 5), -1, False),
        ((5, 5), -1, False),
    ],
)
def test_other_softmaxes_are_not_taken_for_attention(size, axis, seen):
    with ExplicitAttention() as explicit:
        torch.randn(size).softmax(axis)
    assert len(explicit.weights) == seen
