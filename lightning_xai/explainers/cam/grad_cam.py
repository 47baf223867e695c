"""Grad-CAM."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class GradCAM(LayerExplainer):
    """Weigh each feature map by the mean of its gradient.

    ``ReLU(Σ_k w_k A_k)``, ``w_k = mean_ij ∂y/∂A_k``: unit of the logit, ≥ 0. Costs one evaluation per image, and no
    graph below the target layer.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017, https://arxiv.org/abs/1610.02391.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2, bias=False))
        >>> _ = nn.init.constant_(net[3].weight, 2.0)
        >>> GradCAM()(net, torch.tensor([[[[1.0, 3.0]]]]), target=0)
        tensor([[[1., 3.]]])
    """

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``mean_ij g_k``."""
        return layer.gradients.mean((2, 3), keepdim=True)
