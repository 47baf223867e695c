"""Attention computed in the open, so that its weights can be kept and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_xai.model.layer.capture import token_grid


@dataclass(frozen=True)
class AttentionWeights:
    """The weights of one attention.

    Attributes:
        values: (..., Q, T), rows sum to 1; detached.
        edge: Where in the graph their gradient can be asked for; None if there is no graph.
    """

    values: Tensor
    edge: GradientEdge | None


class ExplicitAttention(TorchFunctionMode):
    """Within it, every attention of this thread is ``softmax(Q·Kᵀ·scale + mask)·V`` in single steps, and is kept.

    Seen are `scaled_dot_product_attention`, `multi_head_attention_forward` (what `nn.MultiheadAttention` calls) and
    softmaxes over the last axis, as hand-written attention has them. The fast paths of `nn.MultiheadAttention` and
    `nn.TransformerEncoderLayer` are not taken while any such mode is active. No module is changed.

    Args:
        gradients: Whether the weights shall have a graph, also where the model disables gradients around them.

    Attributes:
        weights: Of each attention, in the order in which they were computed.

    Example:
        >>> query, value = torch.zeros(1, 1, 2, 4), torch.tensor([[[[1.0], [3.0]]]])
        >>> with ExplicitAttention() as explicit:
        ...     F.scaled_dot_product_attention(query, query, value)
        tensor([[[[2.],
                  [2.]]]])
        >>> explicit.weights[0].values
        tensor([[[[0.5000, 0.5000],
                  [0.5000, 0.5000]]]])
    """

    def __init__(self, *, gradients: bool = False) -> None:
        super().__init__()
        self.weights: list[AttentionWeights] = []
        self._gradients = gradients

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        handlers: dict[str, Callable[..., Any]] = {
            "scaled_dot_product_attention": self._scaled_dot_product,
            "multi_head_attention_forward": partial(self._multi_head, func),
            "softmax": partial(self._softmax, func),
        }
        attend = handlers.get(name)
        if attend is None or (name == "softmax" and not is_attention(*args, **kwargs)):
            return func(*args, **kwargs)
        return attend(*self._in_graph(args), **self._in_graph(kwargs))

    def _in_graph(self, arguments: Any) -> Any:
        """Let the query, or the scores, start a graph where the model runs without one, as a frozen backbone may."""
        if not self._gradients:
            return arguments
        torch.set_grad_enabled(True)  # lasts until the surrounding `with` ends
        if isinstance(arguments, tuple):
            return tuple(_differentiable(value) if i == 0 else value for i, value in enumerate(arguments))
        return {k: _differentiable(value) if k in {"query", "input"} else value for k, value in arguments.items()}

    def _softmax(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        weights: Tensor = func(*args, **kwargs)
        self._keep(weights)
        return weights

    def _scaled_dot_product(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
        scores = query * (query.shape[-1] ** -0.5 if scale is None else scale) @ key.transpose(-2, -1)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else scores + attn_mask
        weights = scores.softmax(-1)
        self._keep(weights)
        return F.dropout(weights, dropout_p) @ value

    def _multi_head(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Let torch compute the weights of each head, and return what the caller asked for."""
        asked = {"need_weights": True, "average_attn_weights": False}
        output, weights = func(*args, **{**kwargs, **asked})
        edge = None if weights.grad_fn is None else GradientEdge(*weights.grad_fn.next_functions[0])  # a view's base
        self.weights.append(AttentionWeights(weights.detach(), edge))
        if not kwargs.get("need_weights", True):
            return output, None
        return output, weights.mean(-3) if kwargs.get("average_attn_weights", True) else weights

    def _keep(self, weights: Tensor) -> None:
        edge = get_gradient_edge(weights) if weights.requires_grad else None
        self.weights.append(AttentionWeights(weights.detach(), edge))


def weights_by_head(weights: Tensor, count: int) -> Tensor:
    """Return weights of one head (N, T, T) or of heads beside the images (N·heads, T, T) as (N, heads, T, T)."""
    divides = weights.ndim == 3 and len(weights) % count == 0
    return weights.reshape(count, -1, *weights.shape[1:]) if divides else weights


def common_grid(attentions: list[AttentionWeights], images: Tensor) -> tuple[int, int] | None:
    """Return the grid (h, w) of patches, if every attention is over the same tokens of whole images, else None.

    The last attention may pool the tokens.

    Args:
        attentions: All of one forward pass, in order.
        images: (N, C, H, W), what went through.
    """
    weights = [weights_by_head(attention.values, len(images)) for attention in attentions]
    if not weights or not of_whole_images(weights, images):
        return None
    tokens, blocks = weights[0].shape[3], weights[: max(1, len(weights) - 1)]
    alike = all(w.shape[3] == tokens for w in weights) and all(w.shape[2] == tokens for w in blocks)
    return token_grid(tokens, (images.shape[2], images.shape[3])) if alike else None


def of_whole_images(weights: list[Tensor], images: Tensor) -> bool:
    """Return whether all attention is over whole images, (N, heads, Q, T), and not over windows of them."""
    return all(block.ndim == 4 and len(block) == len(images) for block in weights)


def is_attention(input: Tensor, dim: object = None, *_: object, **__: object) -> bool:
    """Return whether a softmax is over the last axis of (N, heads, Q, T) or of a square (N, T, T)."""
    last = input.shape[-1:] > (1,) and dim in (-1, input.ndim - 1)
    return last and (input.ndim > 3 or (input.ndim == 3 and input.shape[1] == input.shape[2]))


def _differentiable(tensor: Tensor) -> Tensor:
    return tensor if tensor.requires_grad else tensor.detach().requires_grad_()
