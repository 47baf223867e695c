"""XGrad-CAM."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView

_CANCELLED = 1e-3


class XGradCAM(LayerExplainer):
    """Weigh each feature map by its activation-weighted mean gradient.

    ``ReLU(Σ_k w_k A_k)``, ``w_k = Σ_ij (A_k ⊙ g_k) / Σ_ij A_k``: unit of the logit, ≥ 0. Where activations cancel,
    ``|ΣA_k| ≤ 1e-3 Σ|A_k|``, the weight is 0 (the paper assumes rectified layers and leaves this open). Costs one
    evaluation per image.

    Source: Fu et al., "Axiom-based Grad-CAM", BMVC 2020, https://arxiv.org/abs/2008.02312.

    Args:
        target_layer: See `LayerExplainer`. A warning is given where the layer's activations are signed (ViT, Swin,
            MobileNetV3): the weights explode there; prefer `GradCAM`.
        relu: See `LayerExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1))
        >>> net[2].weight.data = torch.tensor([[3.0, -1.0]])
        >>> XGradCAM()(net, torch.tensor([[[[3.0, 1.0]]]]), target=1)  # weight (9 - 1) / 4
        tensor([[[6., 2.]]])
    """

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``Σ_ij (A_k ⊙ g_k) / Σ_ij A_k``."""
        activations = layer.activations
        if bool((activations.amin((1, 2, 3)) < -0.1 * activations.amax((1, 2, 3))).any()):
            warnings.warn(
                "XGradCAM divides by the sum of activations, which are signed at this layer: its weights explode. "
                "Prefer GradCAM, or a rectified target layer.",
                stacklevel=2,
            )
        total = activations.sum((2, 3), keepdim=True)
        defined = total.abs() > _CANCELLED * activations.abs().sum((2, 3), keepdim=True)
        weights = (activations * layer.gradients).sum((2, 3), keepdim=True) / torch.where(defined, total, 1.0)
        return torch.where(defined, weights, 0.0)
