"""Generic attention explainability."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.explainers.transformer.attention_explainer import AttentionExplainer
from lightning_xai.model.attention.attention_maps import AttentionMaps


class TransformerAttribution(AttentionExplainer):
    """Follow the attention that raises the class score through all blocks of a vision transformer.

    ``R ← R + mean_h(ReLU(A_h ⊙ ∂y/∂A_h)) · R`` per block, from ``R = I``, where A are the attention weights and y is
    the target's logit: ≥ 0, without a unit, since products over blocks mix with the logit's. Costs one evaluation per
    image with its backward pass; memory holds two maps (heads, T, T) per block beside the network's activations.

    What is shown is R − I: the same over the patches where a class token is read; where the rows of all tokens are
    averaged, I would add the same constant to every patch.

    Source: Chefer et al., "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers", ICCV 2021, https://arxiv.org/abs/2103.15679, eq. 5 and 6. This is not the CVPR 2021 method of the
    same authors, which needs a relevance rule for every operation of the network.

    Raises:
        ValueError: When called on a CNN, or on a transformer with windowed attention or changing tokens.
        RuntimeError: When called on a network that detaches its attention from the class score.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class OneBlock(nn.Module):
        ...     def forward(self, x):  # two patches of one pixel, which attend to each other by their brightness
        ...         tokens = x.flatten(2).transpose(1, 2)
        ...         return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1).expand(-1, 2)
        >>> TransformerAttribution()(OneBlock(), torch.tensor([[[[0.0, 1.0]]]]), target=0)  # the dark one has no value
        tensor([[[0.0000, 0.3078]]])
    """

    needs_gradients = True

    def relevance(self, maps: AttentionMaps) -> Tensor:
        """Return R − I, where flows far below 1 keep their digits."""
        tokens = maps.weights[0].shape[3]
        gathered = torch.zeros(len(maps.weights[0]), tokens, tokens, device=maps.weights[0].device)
        for weights, gradients in zip(maps.weights, maps.gradients or [], strict=True):
            flow = (weights * gradients).relu().mean(1)
            passed = flow + flow @ gathered
            gathered = gathered + passed if flow.shape[1] == tokens else passed  # an attention that pools has no I
        return gathered
