"""Attention weights of a vision transformer, and the gradient of a class logit by them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from lightning_xai.model.attention.explicit_attention import (
    AttentionWeights,
    ExplicitAttention,
    common_grid,
    of_whole_images,
    weights_by_head,
)
from lightning_xai.model.backward.no_gradient import no_gradient_because
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.exchange import two_images
from lightning_xai.model.preserve import preserved

_rows_by_model: WeakKeyDictionary[nn.Module, dict[Any, Tensor]] = WeakKeyDictionary()
_of_the_image_alone: WeakSet[nn.Module] = WeakSet()
_ROUNDING = 1e-6


@dataclass(frozen=True)
class AttentionMaps:
    """What one forward (and backward) pass shows of a transformer's attention; float32, detached.

    Attributes:
        weights: Per block, (N, heads, T, T): how much each token (row) takes from every token; rows sum to 1. Where
            the network ends in an attention that pools the tokens, the last one is (N, heads, Q, T) for its Q queries.
        gradients: Per block, of the same shape: the target's logit by the weights; None if not asked for.
        grid: (h, w) of the patches, the last h·w of the T tokens.
    """

    weights: list[Tensor]
    gradients: list[Tensor] | None
    grid: tuple[int, int]


def attention_maps(
    classifier: Classifier, images: Tensor, target: Tensor, *, gradients: bool = True, what: str = "attention maps"
) -> AttentionMaps:
    """Return the attention weights of every block for ``images``, in the order in which they run.

    Fused attention (`scaled_dot_product_attention`, `nn.MultiheadAttention` and the fast path of
    `nn.TransformerEncoderLayer`) is computed explicitly meanwhile; the model itself is not touched. One evaluation.

    Args:
        classifier: The model.
        images: (N, C, H, W), at most a chunk.
        target: int64 (N,).
        gradients: Whether gradients are needed.
        what: Who asks, for the errors.

    Raises:
        ValueError: If the model is no transformer whose blocks attend over all tokens of one grid, or some attention
            is over what forward takes beside the image.
        RuntimeError: If no gradient reaches the attention weights.
    """
    if classifier.has_extra:
        _check_of_the_image(classifier, images, what)
    attentions, slopes = _attention_pass(classifier, images, target, gradients=gradients)
    weights = [weights_by_head(attention.values, len(images)) for attention in attentions]
    grid = common_grid(attentions, images)
    if grid is None:
        raise ValueError(
            "Expected a vision transformer whose blocks attend over all tokens of one grid, as in ViT and DeiT, for "
            f"{what}, but {type(classifier.model).__name__} {_described(weights, images)}. Use GradCAM, which needs no "
            "attention."
        )
    if gradients and slopes is None:
        detached = (
            "the model detaches them (`.detach()`, `inference_mode` around its blocks, or reentrant activation "
            "checkpointing). Enable gradients there, or use `use_reentrant=False`."
        )
        raise RuntimeError(
            "Expected the class scores to depend on the attention weights differentiably, but no gradient reaches "
            "all of them: " + no_gradient_because(classifier.model, detached)
        )
    shaped = None if slopes is None else [s.reshape(w.shape).float() for s, w in zip(slopes, weights, strict=True)]
    return AttentionMaps([block.float() for block in weights], shaped, grid)


def _check_of_the_image(classifier: Classifier, images: Tensor, what: str) -> None:
    """Raise ValueError if some attention stays the same when the image changes and its `extra` does not."""
    if classifier.model in _of_the_image_alone:
        return
    pair, explicit = two_images(images), ExplicitAttention()
    with preserved(classifier.model), torch.no_grad(), explicit:
        classifier.rows(torch.zeros(2, dtype=torch.int64)).forward_uncounted(pair.clone())
    weights = [weights_by_head(attention.values, 2) for attention in explicit.weights]
    unmoved = [block for block in weights if len(block) == 2 and float((block[0] - block[1]).abs().max()) <= _ROUNDING]
    if unmoved:
        raise ValueError(
            f"Expected all attention of {type(classifier.model).__name__} to be over the image for {what}, but "
            f"{len(unmoved)} of {len(weights)} are over what forward takes beside it (another view, a text). Use "
            "GradCAM, or another explainer that needs no attention."
        )
    _of_the_image_alone.add(classifier.model)


def read_rows(classifier: Classifier, images: Tensor, maps: AttentionMaps) -> Tensor:
    """Return which rows of the last attention the network's head reads, bool (N, T): those that have a gradient.

    That is the class token alone, class and distillation token, or all patches where they are averaged. Without
    gradients in ``maps`` one image is evaluated, once per model, readout and size of the images. If nothing
    has a gradient, it is the first token where tokens precede the grid, else all.

    Args:
        classifier: The model.
        images: (N, C, H, W), as they were for ``maps``.
        maps: What `attention_maps` returned for them.
    """
    last = maps.weights[-1]
    tokens = last.shape[3]
    first = last.shape[2] == tokens > math.prod(maps.grid)
    usual = torch.arange(last.shape[2], device=last.device) < (1 if first else last.shape[2])
    if maps.gradients is None:
        rows = _rows_of_first(classifier, images).expand(len(last), -1)
    else:
        rows = (maps.gradients[-1] != 0).any(3).any(1)
    return torch.where(rows.any(1, keepdim=True), rows, usual)


def _rows_of_first(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the rows (1, T) that have a gradient for the first image."""
    readout = classifier.readout
    key = (images.shape[1:], readout.forward, readout.logits_from_output)
    known = _rows_by_model.setdefault(classifier.model, {})
    if callable(readout.logits_from_output):  # is not kept: it may hold the model
        return _searched_rows(classifier.rows(slice(1)), images[:1])
    if key not in known:
        rows = _searched_rows(classifier.rows(slice(1)), images[:1])
        if not bool(rows.any()):
            return rows  # such as a head that is still zero: it may be trained later
        known[key] = rows
    return known[key].to(images.device)


def _searched_rows(classifier: Classifier, image: Tensor) -> Tensor:
    any_class = torch.zeros(1, dtype=torch.long, device=image.device)
    attentions, slopes = _attention_pass(classifier, image, any_class, gradients=True)
    last = weights_by_head(attentions[-1].values, 1)
    return (slopes[-1].reshape(last.shape) != 0).any(3).any(1) if slopes else last.new_zeros(1, 1) != 0


def _attention_pass(
    classifier: Classifier, images: Tensor, target: Tensor, *, gradients: bool
) -> tuple[list[AttentionWeights], list[Tensor] | None]:
    """Run the model; return all attention weights, and the gradients there, None if one has none."""
    explicit = ExplicitAttention(gradients=gradients)
    with preserved(classifier.model), torch.set_grad_enabled(gradients), explicit:
        leaf = images.detach().clone().requires_grad_(gradients)
        logits = classifier.forward(leaf.clone())
        attentions = list(explicit.weights)  # a copy: checkpointed blocks run again in the backward pass
        score = classifier.select(logits, target).sum()
        edges = [weights.edge for weights in attentions if weights.edge is not None]
        if not edges or not score.requires_grad:
            return attentions, None
        try:
            start = [get_gradient_edge(score)]  # a tensor would suspend the mode, which a checkpointed block needs
            slopes: tuple[Tensor | None, ...] = torch.autograd.grad(
                start, edges, [torch.ones_like(score)], allow_unused=True
            )
        except RuntimeError as error:
            if "checkpoint" in str(error):
                return attentions, None
            raise
    reached = [slope for slope in slopes if slope is not None]
    return attentions, reached if len(reached) == len(attentions) else None


def _described(weights: list[Tensor], images: Tensor) -> str:
    if not weights:
        return "computes no attention that can be seen (it is a CNN, or uses an operation of its own)"
    shapes = ", ".join(sorted({str(tuple(block.shape)) for block in weights}))
    if of_whole_images(weights, images):
        return f"has attention of several sizes or without a grid: weights of shape {shapes}"
    return f"has windowed attention: weights of shape {shapes}"
