"""Attention weights of a vision transformer, and the gradient of a class logit by them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from lightning_xai.model.attention.explicit_attention import ExplicitAttention, Weights
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.feature_maps import token_grid
from lightning_xai.model.preserve import preserved

_read: WeakKeyDictionary[nn.Module, dict[Any, Tensor]] = WeakKeyDictionary()


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
        ValueError: If the model is no transformer whose blocks attend over all tokens of one grid.
        RuntimeError: If no gradient reaches the attention weights.
    """
    found, slopes = _explicit(classifier, images, target, gradients=gradients)
    kept = [_by_head(weights.values, len(images)) for weights in found]
    grid = common_grid(found, images)
    if grid is None:
        raise ValueError(
            "Expected a vision transformer whose blocks attend over all tokens of one grid, as in ViT and DeiT, for "
            f"{what}, but {type(classifier.model).__name__} {_described(kept, images)}. Use GradCAM, which needs no "
            "attention."
        )
    if gradients and slopes is None:
        raise RuntimeError(
            "Expected the class scores to depend on the attention weights differentiably, but no gradient reaches "
            "all of them: the model detaches them (`.detach()`, `inference_mode` around its blocks, or reentrant "
            "activation checkpointing). Enable gradients there, or use `use_reentrant=False`."
        )
    shaped = None if slopes is None else [s.reshape(w.shape).float() for s, w in zip(slopes, kept, strict=True)]
    return AttentionMaps([weights.float() for weights in kept], shaped, grid)


def read_rows(classifier: Classifier, images: Tensor, found: AttentionMaps) -> Tensor:
    """Return which rows of the last attention the network's head reads, bool (N, T): those that have a gradient.

    That is the class token alone, class and distillation token, or all patches where they are averaged. Without
    gradients in ``found`` one image is evaluated, once per model, readout and size of the images. If nothing
    has a gradient, it is the first token where tokens precede the grid, else all.

    Args:
        classifier: The model.
        images: (N, C, H, W), as they were for ``found``.
        found: What `attention_maps` returned for them.
    """
    last = found.weights[-1]
    tokens = last.shape[3]
    first = last.shape[2] == tokens > math.prod(found.grid)
    usual = torch.arange(last.shape[2], device=last.device) < (1 if first else last.shape[2])
    if found.gradients is None:
        rows = _rows_of_first(classifier, images).expand(len(last), -1)
    else:
        rows = (found.gradients[-1] != 0).any(3).any(1)
    return torch.where(rows.any(1, keepdim=True), rows, usual)


def _rows_of_first(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the rows (1, T) that have a gradient for the first image."""
    readout = classifier.readout
    key = (images.shape[1:], readout.forward, readout.logits_from_output)
    known = _read.setdefault(classifier.model, {})
    if callable(readout.logits_from_output):  # is not kept: it may hold the model
        return _searched_rows(classifier, images[:1])
    if key not in known:
        rows = _searched_rows(classifier, images[:1])
        if not bool(rows.any()):
            return rows  # such as a head that is still zero: it may be trained later
        known[key] = rows
    return known[key].to(images.device)


def _searched_rows(classifier: Classifier, image: Tensor) -> Tensor:
    found, slopes = _explicit(classifier, image, torch.zeros(1, dtype=torch.long, device=image.device), gradients=True)
    last = _by_head(found[-1].values, 1)
    return (slopes[-1].reshape(last.shape) != 0).any(3).any(1) if slopes else last.new_zeros(1, 1) != 0


def _explicit(
    classifier: Classifier, images: Tensor, target: Tensor, *, gradients: bool
) -> tuple[list[Weights], list[Tensor] | None]:
    """Run the model; return all attention weights, and the gradients there, None if one has none."""
    explicit = ExplicitAttention(gradients=gradients)
    with preserved(classifier.model), torch.set_grad_enabled(gradients), explicit:
        leaf = images.detach().clone().requires_grad_(gradients)
        logits = classifier.forward(leaf.clone())
        found = list(explicit.found)  # a copy: checkpointed blocks run again in the backward pass
        score = classifier.select(logits, target).sum()
        edges = [weights.edge for weights in found if weights.edge is not None]
        if not edges or not score.requires_grad:
            return found, None
        try:
            start = [get_gradient_edge(score)]  # a tensor would suspend the mode, which a checkpointed block needs
            slopes: tuple[Tensor | None, ...] = torch.autograd.grad(
                start, edges, [torch.ones_like(score)], allow_unused=True
            )
        except RuntimeError as error:
            if "checkpoint" in str(error):
                return found, None
            raise
    reached = [slope for slope in slopes if slope is not None]
    return found, reached if len(reached) == len(found) else None


def _by_head(weights: Tensor, count: int) -> Tensor:
    """Return weights of one head (N, T, T) or of heads beside the images (N·heads, T, T) as (N, heads, T, T)."""
    divides = weights.ndim == 3 and len(weights) % count == 0
    return weights.reshape(count, -1, *weights.shape[1:]) if divides else weights


def common_grid(found: list[Weights], images: Tensor) -> tuple[int, int] | None:
    """Return the grid (h, w) of patches, if every attention is over the same tokens of whole images, else None.

    The last attention may pool the tokens.

    Args:
        found: All attention weights of one forward pass, in order.
        images: (N, C, H, W), what went through.
    """
    kept = [_by_head(weights.values, len(images)) for weights in found]
    if not kept or not _whole(kept, images):
        return None
    tokens, blocks = kept[0].shape[3], kept[: max(1, len(kept) - 1)]
    alike = all(w.shape[3] == tokens for w in kept) and all(w.shape[2] == tokens for w in blocks)
    return token_grid(tokens, (images.shape[2], images.shape[3])) if alike else None


def _whole(kept: list[Tensor], images: Tensor) -> bool:
    return all(weights.ndim == 4 and len(weights) == len(images) for weights in kept)


def _described(kept: list[Tensor], images: Tensor) -> str:
    if not kept:
        return "computes no attention that can be seen (it is a CNN, or uses an operation of its own)"
    shapes = ", ".join(sorted({str(tuple(weights.shape)) for weights in kept}))
    kind = "has attention of several sizes or without a grid" if _whole(kept, images) else "has windowed attention"
    return f"{kind}: weights of shape {shapes}"
