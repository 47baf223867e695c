"""HiResCAM."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class HiResCAM(LayerExplainer):
    """Multiply activations and gradients pixel by pixel, without averaging the gradients.

    ``ReLU(Σ_k g_k ⊙ A_k)``: unit of the logit. For a network that ends in one linear layer over the flattened target
    layer, the map without ReLU sums to the logit minus its bias, so it shows exactly which places raise the score;
    Grad-CAM's does not. Costs one evaluation per image.

    Source: Draelos & Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks", 2020, https://arxiv.org/abs/2011.08891.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1))
        >>> net[2].weight.data = torch.tensor([[3.0, -1.0]])
        >>> heatmap = HiResCAM(relu=False)(net, torch.tensor([[[[1.0, 2.0]]]]), target=1)
        >>> heatmap
        tensor([[[ 3., -2.]]])
    """

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``g_k``."""
        return layer.gradients
