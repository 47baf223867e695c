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

_SUMS = frozenset(
    "add sub rsub __rsub__ copy cat stack hstack vstack dstack where masked_scatter index_add index_copy index_put "
    "scatter scatter_add __setitem__ expand_as view_as reshape_as type_as to grad".split()
)
"""Operations that stay linear when several of their arguments depend on the images."""

_LINEAR = _SUMS | frozenset(
    "__get__ __getitem__ __matmul__ __rmatmul__ addbmm addmm addmv adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d alpha_dropout as_strided avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bfloat16 "
    "bilinear bmm broadcast_tensors broadcast_to channel_shuffle chunk clone contiguous conv1d conv2d conv3d "
    "conv_transpose1d conv_transpose2d conv_transpose3d cpu cuda cumsum diag diag_embed diagonal div dot double "
    "dropout dropout1d dropout2d dropout3d dsplit einsum expand feature_alpha_dropout feature_dropout fill flatten "
    "flip fliplr flipud float fold gather grid_sample half hsplit index_fill index_select inner interpolate kron "
    "linear masked_fill masked_select matmul mean mm moveaxis movedim mul mv narrow native_channel_shuffle nanmean "
    "nansum neg outer pad permute pixel_shuffle pixel_unshuffle positive ravel repeat repeat_interleave requires_grad "
    "reshape roll rot90 select slice_scatter split split_with_sizes squeeze sum swapaxes swapdims t take "
    "take_along_dim tensor_split tensordot tile trace transpose tril triu type unbind unflatten unfold unsqueeze "
    "upsample upsample_bilinear upsample_nearest vdot view vsplit zero".split()
)
"""Operations that are linear, or affine, in each argument that depends on the images."""


def refusal(method: str, ruled: Collection[str], *, known: str) -> Callable[[str, int], str | None]:
    """Return what refuses, in `ruled`, the operations whose output ``method`` cannot divide among the inputs.

    Neither linear nor ruled, they would otherwise pass as linear, and the map would be wrong without a word.

    Args:
        method: Name of the explainer.
        ruled: Operations with a rule.
        known: What has a rule, in words.
    """
    message = (
        f"Expected a network of linear layers, {known} for {method}, but {{operation}} is none of these: no rule says "
        "what each of its inputs contributed. Use IntegratedGradients, which explains any differentiable network."
    )
    passed = _LINEAR | set(ruled)

    def refuse(name: str, dependent: int) -> str | None:
        return message if name not in passed or (dependent > 1 and name not in _SUMS) else None

    return refuse
