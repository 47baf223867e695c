"""Input times gradient."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.target_gradient import target_gradient
from lightning_xai.model.classifier import Classifier


class InputXGradient(PixelExplainer):
    """Multiply each pixel by its gradient: what it contributes to the score, were the network linear.

    ``Σ_c x_c · ∂y/∂x_c`` over channels c: signed, unit of the logit. Sums to the logit only where the network is
    linear and has no biases. Costs one evaluation per image.

    Source: Shrikumar et al., "Not Just a Black Box: Learning Important Features Through Propagating Activation
    Differences", 2016, https://arxiv.org/abs/1605.01713.

    Args:
        reduction: See `PixelExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -3.0]])
        >>> InputXGradient()(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)
        tensor([[[10., -3.]]])
    """

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return ``x ⊙ ∂y/∂x``."""
        return images * target_gradient(classifier, images, target)
