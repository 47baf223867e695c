"""Grad-CAM++."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class GradCAMPlusPlus(LayerExplainer):
    """Weigh each feature map by its positive gradients, places that matter little for the whole counting more.

    ``ReLU(Σ_k w_k A_k)``, ``w_k = Σ_ij α_ij ReLU(g_ij)``, ``α = g² / (2g² + S_k g³) = 1 / (2 + g S_k)`` with
    ``S_k = max(0, Σ_ij A_k)``; unit of the logit, ≥ 0. Costs one evaluation per image.

    Deviations from the paper: the exponential of the score, a factor common to all weights, is dropped, as in the
    authors' code; the closed form replaces the quotient of powers, which underflows at real gradients (g² ≈ 5e-8);
    S_k is cut at 0, so that α stays in (0, 1/2] on signed layers.

    Source: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional
    Networks", WACV 2018, https://arxiv.org/abs/1710.11063, eq. 10 and 19.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.
        normalize_alpha: Whether each feature map's α are divided by their sum over g > 0, as in the authors' code.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1))
        >>> net[2].weight.data = torch.tensor([[2.0, -1.0]])
        >>> GradCAMPlusPlus()(net, torch.tensor([[[[3.0, 1.0]]]]), target=1)  # weight 2 / (2 + 2 * 4)
        tensor([[[0.6000, 0.2000]]])
    """

    def __init__(
        self,
        target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto",
        *,
        relu: bool = True,
        normalize_alpha: bool = False,
    ) -> None:
        super().__init__(target_layer, relu=relu)
        self.normalize_alpha = normalize_alpha

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``Σ_ij α ReLU(g)``."""
        positive = layer.gradients.relu()
        total = layer.activations.sum((2, 3), keepdim=True).relu()
        alpha = torch.where(positive > 0, 1.0 / (2.0 + positive * total), 0.0)
        if self.normalize_alpha:
            mass = alpha.sum((2, 3), keepdim=True)
            alpha = alpha / torch.where(mass > 0, mass, 1.0)
        return (alpha * positive).sum((2, 3), keepdim=True)
