"""LayerCAM."""

from __future__ import annotations

from torch import Tensor

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class LayerCAM(LayerExplainer):
    """Weigh every place of every feature map by its own positive gradient; works on early layers too.

    ``ReLU(Σ_k ReLU(g_k) ⊙ A_k)``: unit of the logit, ≥ 0. Costs one evaluation per image.

    Source: Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 2021,
    https://doi.org/10.1109/TIP.2021.3089943.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1))
        >>> net[2].weight.data = torch.tensor([[3.0, -1.0]])
        >>> LayerCAM()(net, torch.tensor([[[[1.0, 2.0]]]]), target=1)
        tensor([[[3., 0.]]])
    """

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``ReLU(g_k)``."""
        return layer.gradients.relu()
