"""Ablation-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView

_NO_SCORE = 1e-6


class AblationCAM(LayerExplainer):
    """Weigh each feature map by how far the score falls without it; no gradient.

    ``ReLU(Σ_k w_k A_k)``, ``w_k = (y − y_k) / |y|`` with y_k the logit after feature map k is set to 0; unit of the
    activations, ≥ 0. Divided by |y| where the paper writes y, since a negative y would show the opposite, and not at
    all where ``|y| < 1e-6``.

    Costs one evaluation per image, plus, for every feature map, what the model computes after the target layer: that
    part alone runs, for many feature maps at once (see `ForwardFromLayer`); such runs are not counted as evaluations.
    Where it cannot run alone, which is logged, the cost is one evaluation per image and feature map, and one more.

    Source: Desai & Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization", WACV 2020, https://openaccess.thecvf.com/content_WACV_2020/html/Desai_Ablation-CAM_WACV_2020_paper.html.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1, bias=False))
        >>> net[3].weight.data = torch.tensor([[2.0, 1.0]])
        >>> AblationCAM()(net, torch.tensor([[[[1.0, 2.0]], [[0.0, 2.0]]]]), target=1)  # 4; 1 and 3 without: 3/4, 1/4
        tensor([[[0.7500, 2.0000]]])
    """

    needs_gradients = False

    @property
    def evaluations(self) -> None:
        """Unknown: 1, where the part after the target layer can run alone."""
        return

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``(y − y_k) / |y|``."""
        forward = layer.forward_from_here
        score = layer.classifier.select(forward.logits, layer.target)
        drops = []
        for channels in forward.groups():
            without = forward.without(channels)
            drops.append(score - without.gather(2, layer.target.expand(len(channels), -1)[:, :, None])[:, :, 0])
        size = torch.where(score.abs() < _NO_SCORE, 1.0, score.abs())
        return (torch.cat(drops).T / size[:, None])[:, :, None, None]
