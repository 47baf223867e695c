"""Guided backpropagation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.explainers.gradient.operations import SMOOTH_RECTIFIERS
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.target_gradient import target_gradient
from lightning_xai.model.backward.operation_rules import OperationCall, ruled
from lightning_xai.model.classifier import Classifier


class GuidedBackprop(PixelExplainer):
    """Go back through the network along positive gradients only, which draws edges of what the network sees.

    The gradient of the logit by the image, where every ReLU passes ``1[x > 0] · max(0, R)`` of the gradient R that
    arrives: unit of the logit per unit of the image; ``max_c |.|`` over channels c. It hardly depends on the class or
    on the upper layers (Adebayo et al. 2018). Costs one evaluation per image.

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2014,
    https://arxiv.org/abs/1412.6806. Every ReLU and ReLU6 counts, be it a module, a function, in place, used twice, or
    written as a clamp, threshold or maximum at 0; methods that hook modules miss functional ones and then return
    something in between. One written by `torch.where` or as a product with a mask is not seen.

    Args:
        reduction: See `PixelExplainer`.

    Raises:
        ValueError: When called, if the network has no ReLU, or rectifies by another function (GELU, SiLU, Hardswish,
            ...), for which the method is not defined.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> net[1].weight.data, net[3].weight.data = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, -1.0]])
        >>> GuidedBackprop()(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)  # the gradient is 3 * (2, 0) - (1, 1)
        tensor([[[6., 0.]]])
    """

    refuses = "networks without ReLU: GELU, SiLU, Hardswish, ... (EfficientNet, MobileNetV3, ConvNeXt, transformers)"

    def __init__(self, *, reduction: Reduction = "abs_max") -> None:
        super().__init__(reduction=reduction)

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return the guided gradient."""
        return guided_gradient(classifier, images, target)


def guided_gradient(classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
    """Return the guided gradient of the target's logit by the images, float32 (n, C, H, W); see `GuidedBackprop`."""
    guided: list[str] = []

    def rectifier(call: OperationCall) -> Tensor:
        result = _rectified(call)
        if result is None:
            return call.proceed()
        guided.append(call.name)
        result.register_hook(torch.relu)  # type: ignore[no-untyped-call]
        return result

    with ruled(classifier, dict.fromkeys(("relu", "relu6", "maximum", *_BOUNDS), rectifier), _refuse):
        gradient = target_gradient(classifier, images, target)
    if not guided:
        raise ValueError(_WITHOUT_RELU.format(operation=f"{type(classifier.model).__name__} has none"))
    return gradient


_BOUNDS = {  # torch's ReLU6 is a Hardtanh
    "hardtanh": ("min_val",),
    "clamp": ("min",),
    "clamp_min": ("min",),
    "threshold": ("threshold", "value"),
}
"""What rectifies where all of these arguments, its first ones after the source, are 0."""


def _rectified(call: OperationCall) -> Tensor | None:
    """Return what the call returns, with the derivative of a ReLU, or None if the call is none."""
    if call.name in ("relu", "relu6"):
        return call.proceed()
    if call.name == "maximum":
        other = call.arguments[0] if call.arguments else call.keywords["other"]
        one, zero = (call.source, other) if call.source.requires_grad else (other, call.source)
        return torch.maximum(torch.relu(one), zero) if _is_zero(zero) else None
    given = {**dict(zip(_BOUNDS[call.name], call.arguments, strict=False)), **call.keywords}
    if not all(_is_zero(given.get(name)) for name in _BOUNDS[call.name]):
        return None
    return call.run(torch.relu(call.source))  # these pass the gradient at 0, where ReLU passes none


def _is_zero(value: Any) -> bool:
    return value is not None and not bool(torch.as_tensor(value).any())


_WITHOUT_RELU = (
    "Expected a network that rectifies by ReLU for guided backpropagation, but {operation}: guided would be the plain "
    "gradient there. Use Saliency or SmoothGrad."
)


def _refuse(name: str, _: int) -> str | None:
    return _WITHOUT_RELU.replace("{operation}", "it uses {operation}") if name in SMOOTH_RECTIFIERS else None
