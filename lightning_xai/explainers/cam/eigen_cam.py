"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class EigenCAM(LayerExplainer):
    """Project the feature maps on their first principal component; the class plays no part.

    ``A v₁`` with the places of the target layer as the rows of A (hw, C) and v₁ its first right singular vector: the
    single map that explains most of all of them; signed, unit of the activations. A is not centred, as in the paper.
    A singular vector has no sign of its own: the one is taken that makes the map's sum ≥ 0, so that a map whose sum
    is nearly 0 may turn over. Costs one evaluation per image, no gradient.

    Source: Muhammad & Yeasin, "Eigen-CAM: Class Activation Map using Principal Components", IJCNN 2020,
    https://arxiv.org/abs/2008.00299.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`; the paper does not rectify.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> images = torch.tensor([[[[3.0, 6.0]], [[4.0, 8.0]]]])  # the rows (3, 4) and (6, 8): v₁ is (0.6, 0.8)
        >>> EigenCAM()(net, images, target=0).round(decimals=3)
        tensor([[[ 5., 10.]]])
    """

    class_discriminative = False
    needs_gradients = False

    def __init__(
        self, target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto", *, relu: bool = False
    ) -> None:
        super().__init__(target_layer, relu=relu)

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``v₁`` with the sign that makes the map's sum ≥ 0."""
        rows = layer.activations.flatten(2).mT
        component = _first_component(rows)
        map_sum = (rows @ component).sum(1, keepdim=True)
        return torch.where(map_sum < 0, -component, component)[..., None]


def _first_component(rows: Tensor) -> Tensor:
    """Return v₁ (n, C, 1) of A (n, T, C) by the smaller of A Aᵀ and AᵀA, several times as fast as an SVD of A."""
    if rows.shape[1] > rows.shape[2]:
        vectors: Tensor = torch.linalg.eigh(rows.mT @ rows)[1]
        return vectors[:, :, -1:]
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    size = values[:, None, -1:].clamp(min=0.0).sqrt()
    return rows.mT @ vectors[:, :, -1:] / torch.where(size > 0, size, 1.0)
