"""Vision transformers and both explainers, written naively: float64, attention from the parameters, head by head."""

import timm
import torch
import torchvision
from torch import nn

from tests._nets import TinyViT

HEADS, SIZE = 2, 16


def attention(x, weight, bias, out):
    """Return what self-attention over tokens (N, T, D) puts out, and its weights (N, T, T) of each head."""
    query, key, value = (x @ weight.T + bias).chunk(3, -1)
    width = query.shape[-1] // HEADS
    outputs, kept = [], []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = (query[..., part] @ key[..., part].transpose(1, 2) / width**0.5).exp()
        kept.append(scores / scores.sum(-1, keepdim=True))
        outputs.append(kept[-1] @ value[..., part])
    return out(torch.cat(outputs, -1)), kept


def tiny(net, images):
    x = net.patches(images).flatten(2).transpose(1, 2) + net.position
    x, maps = torch.cat([net.prefix.expand(len(x), -1, -1), x], 1), []
    for block in net.blocks:
        layer = block.attention
        added, kept = attention(block.norm(x), layer.in_proj_weight, layer.in_proj_bias, layer.out_proj)
        x = x + added
        x = x + block.mlp(x)
        maps.append(kept)
    return net.head(x[:, 0]), maps


def of_torchvision(net, images):
    x = net.conv_proj(images).flatten(2).transpose(1, 2)
    x, maps = torch.cat([net.class_token.expand(len(x), -1, -1), x], 1) + net.encoder.pos_embedding, []
    for block in net.encoder.layers:
        layer = block.self_attention
        added, kept = attention(block.ln_1(x), layer.in_proj_weight, layer.in_proj_bias, layer.out_proj)
        x = x + added
        x = x + block.mlp(block.ln_2(x))
        maps.append(kept)
    return net.heads(net.encoder.ln(x)[:, 0]), maps


def of_timm(net, images):
    x, maps = net.norm_pre(net._pos_embed(net.patch_embed(images))), []
    for block in net.blocks:
        added, kept = attention(block.norm1(x), block.attn.qkv.weight, block.attn.qkv.bias, block.attn.proj)
        x = x + added
        x = x + block.mlp(block.norm2(x))
        maps.append(kept)
    return net.forward_head(net.norm(x)), maps


def encoder_layers(net, images):
    """nn.TransformerEncoderLayer normalises afterwards by default."""
    x, maps = torch.cat([net.token.expand(len(images), -1, -1), net.patches(images).flatten(2).transpose(1, 2)], 1), []
    for block in net.encoder.layers:
        layer = block.self_attn
        added, kept = attention(x, layer.in_proj_weight, layer.in_proj_bias, layer.out_proj)
        x = block.norm1(x + added)
        x = block.norm2(x + block.linear2(block.linear1(x).relu()))
        maps.append(kept)
    return net.head(x[:, 0]), maps


class Encoder(nn.Module):
    """torch's own encoder, whose layers have a fast path in eval mode without gradients."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, HEADS, 16, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder(torch.cat([self.token.expand(len(x), -1, -1), x], 1))[:, 0])


def timm_vit(kind=timm.models.VisionTransformer, **settings):
    net = kind(SIZE, 4, embed_dim=8, depth=2, num_heads=HEADS, num_classes=4, **settings)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net


def torchvision_vit():
    net = torchvision.models.VisionTransformer(SIZE, 4, 2, HEADS, 8, 16, num_classes=4)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net


def unfused(net):
    for block in net.blocks:
        block.attn.fused_attn = False
    return net


EVERY = slice(None)
NETWORKS = {
    "own": (TinyViT, tiny, [0]),
    "own, 5 more tokens": (lambda: TinyViT(prefix=6), tiny, [0]),
    "torchvision": (torchvision_vit, of_torchvision, [0]),
    "torch's encoder": (Encoder, encoder_layers, [0]),
    "timm": (timm_vit, of_timm, [0]),
    "timm, not fused": (lambda: unfused(timm_vit()), of_timm, [0]),
    "timm, registers": (lambda: timm_vit(reg_tokens=4), of_timm, [0]),
    "timm, mean of patches": (lambda: timm_vit(global_pool="avg"), of_timm, slice(1, None)),
    "timm, no class token": (lambda: timm_vit(global_pool="avg", class_token=False), of_timm, EVERY),
    "timm, registers, no class token": (
        lambda: timm_vit(global_pool="avg", class_token=False, reg_tokens=4),
        of_timm,
        slice(4, None),
    ),
    "timm, mean of all tokens": (lambda: timm_vit(global_pool="avg", pool_include_prefix=True), of_timm, EVERY),
    "timm, distilled": (lambda: timm_vit(timm.models.deit.VisionTransformerDistilled), of_timm, [0, 1]),
}
"""Name -> (how to build it, its naive forward pass, the rows that its head reads)."""


def patches(relevance, rows):
    """Return the mean of ``rows``, over the patches of a 4 × 4 grid."""
    return relevance[rows].mean(0)[-16:].view(4, 4)


def rollout(maps, rows):
    """Abnar & Zuidema 2020, for one image: ``maps`` holds (T, T) of each head of each block."""
    relevance = None
    for heads in maps:
        mixed = sum(heads) / len(heads) + torch.eye(len(heads[0]), dtype=torch.float64)
        mixed = mixed / mixed.sum(1, keepdim=True)
        relevance = mixed if relevance is None else mixed @ relevance
    return patches(relevance, rows)


def attribution(maps, gradients, rows):
    """Chefer et al. 2021, eq. 5 and 6, for one image."""
    relevance = torch.eye(len(maps[0][0]), dtype=torch.float64)
    for heads, slopes in zip(maps, gradients, strict=True):
        raised = sum((slope * head).clamp(min=0) for head, slope in zip(heads, slopes, strict=True)) / len(heads)
        relevance = relevance + raised @ relevance
    return patches(relevance, rows)
