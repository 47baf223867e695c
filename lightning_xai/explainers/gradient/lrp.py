"""Layer-wise relevance propagation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least, check_choice
from lightning_xai.explainers.gradient.operations import MAX_POOLS, THROUGH_ZERO, refusal
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.target_gradient import target_gradient
from lightning_xai.model.backward.operation_rules import OperationCall, ruled, sent_back
from lightning_xai.model.classifier import Classifier

MaxPooling = Literal["winner", "epsilon"]

_LAYERS = frozenset({"conv2d", "conv_transpose2d", "linear", "batch_norm", "avg_pool2d", "adaptive_avg_pool2d"})
_refuse = refusal("LRP", THROUGH_ZERO | _LAYERS | MAX_POOLS, known="activation functions with f(0) = 0 and max pooling")


class LRP(PixelExplainer):
    """Hand the score back layer by layer, to each input in proportion to what it added: the ε-rule.

    ``R_i = Σ_j x_i w_ij / (z_j + ε sign z_j) · R_j`` for every layer with outputs z_j, biases included in z; activation
    functions hand on what they receive, and max pooling gives all to the maximum: there nothing cancels that ε would
    have to damp. Signed, unit of the logit; biases keep their share, so the map does not sum to
    the logit. Computed as ``x ⊙ m``, where m goes back like a gradient with ``z / (z + ε sign z)`` at layers and
    ``f(z) / z`` at activation functions (Ancona et al. 2018, proposition 1), so that sums and concatenations divide
    relevance as well. In a network of ReLUs, with ε near 0, it is `InputXGradient`; a larger ε drops what nearly
    cancels. Costs one evaluation per image.

    Source: Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation", PLOS ONE 2015, https://doi.org/10.1371/journal.pone.0130140, eq. 58; Ancona et al., ICLR 2018,
    https://openreview.net/forum?id=Sy21R9JAW. captum's gives the same for chains of the modules that it knows, and
    doubles relevance at residual sums; it applies ε to max pooling too (``max_pooling="epsilon"``), which keeps
    ``|z| / (|z| + ε)`` of a maximum z only: half of it at z = ε = 1. Batch normalisation is a layer of its own, whose
    shift takes its share and whose outputs are damped by ε; zennit's canonizers merge it into the convolution before
    it, so that with a large ε, or where the shift is large, the maps differ.

    Args:
        epsilon: The stabiliser ε, in the units of each layer's output; 1e-9 is captum's.
        max_pooling: ``"winner"`` takes all (zennit), or ``"epsilon"`` damps it like a layer (captum).
        reduction: See `PixelExplainer`.

    Raises:
        ValueError: If ``epsilon`` is not positive or ``max_pooling`` is neither; when called, if an operation has no
            rule: normalisation over channels, softmax, attention, gates, and functions with f(0) ≠ 0 such as the
            sigmoid.
        RuntimeError: When called, if the model uses activation checkpointing.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> _ = nn.init.constant_(net[1].bias, 2.0)
        >>> net[1].weight.data = torch.tensor([[2.0, -1.0]])
        >>> LRP()(net, torch.tensor([[[[5.0, 4.0]]]]), target=1)  # of 8, the bias keeps 2
        tensor([[[10., -4.]]])
        >>> LRP(epsilon=8.0)(net, torch.tensor([[[[5.0, 4.0]]]]), target=1)  # 8 / (8 + 8) of each
        tensor([[[ 5., -2.]]])
    """

    refuses = "layer normalisation, softmax, attention and gates (EfficientNet, MobileNetV3, ConvNeXt, transformers)"

    def __init__(
        self, epsilon: float = 1e-9, max_pooling: MaxPooling = "winner", *, reduction: Reduction = "sum"
    ) -> None:
        super().__init__(reduction=reduction)
        check_at_least(epsilon, 0.0, "epsilon", strict=True)
        check_choice(max_pooling, ("winner", "epsilon"), "max_pooling")
        self.epsilon = epsilon
        self.max_pooling: MaxPooling = max_pooling

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return the relevance of each value."""
        stabilised = _LAYERS | MAX_POOLS if self.max_pooling == "epsilon" else _LAYERS
        rules = {**dict.fromkeys(THROUGH_ZERO, _handed_on), **dict.fromkeys(stabilised, self._stabilised)}
        with ruled(classifier, rules, _refuse):
            return images * target_gradient(classifier, images, target)

    def _stabilised(self, call: OperationCall) -> Tensor:
        result = call.proceed()
        share = _ratio(result.detach(), self.epsilon)
        result.register_hook(lambda g: (g * share).to(g.dtype))  # type: ignore[no-untyped-call]
        return result


def _handed_on(call: OperationCall) -> Tensor:
    """Pass relevance through a function of each value: multiply by ``f(z) / z``, at 0 by its derivative."""
    with torch.no_grad():
        result = call.run(call.source)
        zero = call.source == 0
        share = result / torch.where(zero, 1.0, call.source)
        if bool(zero.any()):
            share = torch.where(zero, call.derivative(), share)
    return sent_back(call.source, result, lambda gradient: (gradient * share).to(gradient.dtype))


def _ratio(values: Tensor, epsilon: float) -> Tensor:
    """Return ``z / (z + ε sign z)``, with the sign of 0 positive."""
    return values / (values + torch.where(values < 0, -epsilon, epsilon))
