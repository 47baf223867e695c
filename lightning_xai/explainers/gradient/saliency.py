"""Saliency."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.target_gradient import target_gradient
from lightning_xai.model.classifier import Classifier


class Saliency(PixelExplainer):
    """Show how strongly the score answers to a small change of each pixel.

    ``max_c |∂y/∂x_c|`` over channels c: unit of the logit per unit of the image, ≥ 0. Costs one evaluation per image.

    Source: Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency
    Maps", 2013, https://arxiv.org/abs/1312.6034.

    Args:
        reduction: See `PixelExplainer`; the paper takes ``"abs_max"``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -3.0]])
        >>> Saliency()(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)
        tensor([[[2., 3.]]])
    """

    def __init__(self, *, reduction: Reduction = "abs_max") -> None:
        super().__init__(reduction=reduction)

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return ``∂y/∂x``."""
        return target_gradient(classifier, images, target)
