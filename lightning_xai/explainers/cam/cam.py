"""CAM, the class activation map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class CAM(LayerExplainer):
    """Weigh each feature map by the weight that the classifying layer gives to its mean.

    ``Σ_k w_k^c A_k``, signed, unit of the logit: its mean over the layer's places is the logit minus the bias. Defined
    only for networks that end in global average pooling and one linear layer, which is checked on the data. Costs one
    evaluation per image, no gradient.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016,
    https://arxiv.org/abs/1512.04150.

    Args:
        target_layer: See `LayerExplainer`; what enters the global average pooling.
        relu: See `LayerExplainer`; the paper does not rectify.

    Raises:
        ValueError: When called, if no linear layer of the model maps the layer's means to the logits.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
        >>> _ = nn.init.constant_(net[3].weight, -2.0)
        >>> CAM()(net, torch.tensor([[[[1.0, 3.0]]]]), target=0)
        tensor([[[-2., -6.]]])
    """

    needs_gradients = False
    refuses = "networks without global average pooling and one linear layer at the end (VGG, MobileNetV3, ViT)"

    def __init__(
        self, target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto", *, relu: bool = False
    ) -> None:
        super().__init__(target_layer, relu=relu)

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``w_k^c`` of the classifying layer."""
        return _class_weights(layer)[layer.target][:, :, None, None]


def _class_weights(layer: LayerView) -> Tensor:
    """Return the weights (K, C) of the linear layer that maps the means of the feature maps to the logits."""
    classifier, means = layer.classifier, layer.activations.mean((2, 3))
    tolerance = 1e-2 * float(layer.logits.abs().max())
    for module in reversed(list(classifier.model.modules())):
        if isinstance(module, nn.Linear) and module.in_features == means.shape[1]:
            weight, bias = module.weight.detach().float(), getattr(module, "bias", None)
            logits = F.linear(means, weight, None if bias is None else bias.detach().float())
            if classifier.task == "binary":
                weight, logits = torch.cat([-weight, weight]), torch.cat([-logits, logits], 1)
            if logits.shape == layer.logits.shape and torch.allclose(logits, layer.logits, rtol=0.0, atol=tolerance):
                return weight
    raise ValueError(
        "Expected a network that ends in global average pooling and one linear layer for CAM, but no linear layer of "
        f"{type(classifier.model).__name__} maps the means of the target layer to its logits. Use GradCAM, which shows "
        "the same where CAM exists."
    )
