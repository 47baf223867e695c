"""Attention rollout."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.explainers.transformer.attention_explainer import AttentionExplainer
from lightning_xai.model.attention.attention_maps import AttentionMaps


class AttentionRollout(AttentionExplainer):
    """Follow the attention through all blocks of a vision transformer, whatever the class.

    ``R ← rownorm(mean_h A + I) · R`` per block, from ``R = I``: the share of each patch in what the head reads, in
    [0, 1]; patches and other tokens sum to 1. It shows where the network looks, not what it concludes: the same for
    every class. Costs one evaluation per image without gradients, and once per model one image with them, to see which
    tokens the head reads.

    Source: Abnar & Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, https://arxiv.org/abs/2005.00928.
    The paper leaves open how the class token is chosen in other networks, see `AttentionExplainer`.

    Raises:
        ValueError: When called on a CNN, or on a transformer with windowed attention or changing tokens.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class OneBlock(nn.Module):
        ...     def forward(self, x):  # two patches of one pixel, which attend to each other by their brightness
        ...         tokens = x.flatten(2).transpose(1, 2)
        ...         return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1).expand(-1, 2)
        >>> AttentionRollout()(OneBlock(), torch.tensor([[[[0.0, 1.0]]]]), target=0)  # (1 + 0.5 + 0.27) / 4, the rest
        tensor([[[0.4422, 0.5578]]])
    """

    class_discriminative = False
    needs_gradients = False

    def relevance(self, maps: AttentionMaps) -> Tensor:
        """Return R; an attention that pools has no residual connection, hence no I."""
        identity = torch.eye(maps.weights[0].shape[3], device=maps.weights[0].device)
        relevance = identity.expand(len(maps.weights[0]), -1, -1)
        for weights in maps.weights:
            step = weights.mean(1)
            if step.shape[1] == step.shape[2]:
                step = step + identity
            relevance = step / step.sum(2, keepdim=True) @ relevance
        return relevance
