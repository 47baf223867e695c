"""Torch operations by what a method that redistributes scores can do with them."""

# ruff: noqa: SIM905 - as lists these would take one line per word

from __future__ import annotations

from collections.abc import Callable, Collection

THROUGH_ZERO = frozenset(
    "relu relu6 leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish hardtanh tanh tanhshrink softsign "
    "hardshrink softshrink abs square sin asinh atan erf expm1 log1p".split()
)
"""Functions of each value by itself with f(0) = 0."""

ELEMENTWISE = THROUGH_ZERO | frozenset(
    "sigmoid hardsigmoid logsigmoid softplus clamp clamp_min clamp_max threshold exp log sqrt rsqrt pow cos".split()
)
"""Functions of each value by itself."""

SMOOTH_RECTIFIERS = frozenset("leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish softplus".split())
"""What networks use in place of ReLU."""

MAX_POOLS = frozenset({"max_pool2d", "adaptive_max_pool2d"})

_SUMS = frozenset("add sub subtract rsub copy where index_add scatter_add __setitem__ grad".split())
"""Operations that stay linear when several of their arguments depend on the images."""

_NEVER = frozenset(
    "layer_norm group_norm instance_norm rms_norm local_response_norm normalize softmax softmin log_softmax "
    "scaled_dot_product_attention multi_head_attention_forward _native_multi_head_attention norm std var prod cumprod "
    "logsumexp lp_pool1d lp_pool2d amax amin max min maximum minimum topk sort median max_pool1d max_pool3d "
    "max_pool2d_with_indices adaptive_max_pool2d_with_indices fractional_max_pool2d glu reciprocal".split()
)
"""Not linear, and no function of each value by itself: what each input contributed is not defined."""


def refusal(method: str, also: Collection[str] = (), *, known: str) -> Callable[[str, int], str | None]:
    """Return what refuses, in `ruled`, the operations whose output ``method`` cannot divide among the inputs.

    Args:
        method: Name of the explainer.
        also: Further operations without a rule.
        known: What has a rule, in words.
    """
    message = (
        f"Expected a network of linear layers, {known} for {method}, but {{operation}} is none of these: no rule says "
        "what each of its inputs contributed. Use IntegratedGradients, which explains any differentiable network."
    )

    def refuse(name: str, dependent: int) -> str | None:
        unknown = name in _NEVER or name in also or (dependent > 1 and name not in _SUMS)
        return message if unknown else None

    return refuse
