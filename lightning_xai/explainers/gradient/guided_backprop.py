"""Guided backpropagation."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.explainers.gradient.operations import SMOOTH_RECTIFIERS
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.target_gradient import target_gradient
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.operation_rules import Call, ruled


class GuidedBackprop(PixelExplainer):
    """Go back through the network along positive gradients only, which draws edges of what the network sees.

    The gradient of the logit by the image, where every ReLU passes ``1[x > 0] · max(0, R)`` of the gradient R that
    arrives: unit of the logit per unit of the image; ``max_c |.|`` over channels c. It hardly depends on the class or
    on the upper layers (Adebayo et al. 2018). Costs one evaluation per image.

    Source: Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2014,
    https://arxiv.org/abs/1412.6806. Every ReLU and ReLU6 counts, be it a module, a function, in place or used twice;
    methods that hook modules miss functional ones and then return something in between.

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

    def rectifier(call: Call) -> Tensor:
        result = call.proceed()
        if call.name != "hardtanh" or call.keywords.get("min_val") == 0:  # torch's ReLU6 is a Hardtanh
            guided.append(call.name)
            result.register_hook(torch.relu)  # type: ignore[no-untyped-call]
        return result

    with ruled(classifier, dict.fromkeys(("relu", "relu6", "hardtanh"), rectifier), _refuse):
        gradient = target_gradient(classifier, images, target)
    if not guided:
        raise ValueError(_WITHOUT_RELU.format(operation=f"{type(classifier.model).__name__} has none"))
    return gradient


_WITHOUT_RELU = (
    "Expected a network that rectifies by ReLU for guided backpropagation, but {operation}: guided would be the plain "
    "gradient there. Use Saliency or SmoothGrad."
)


def _refuse(name: str, _: int) -> str | None:
    return _WITHOUT_RELU.replace("{operation}", "it uses {operation}") if name in SMOOTH_RECTIFIERS else None
