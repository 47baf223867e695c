"""Integrated Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_count
from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView


class IntegratedGradCAM(LayerExplainer):
    """Average Grad-CAM's maps along the straight path from an empty image, so that saturation hides nothing.

    ``(1/m) Σ_{t=1..m} ReLU(Σ_k mean_ij(∂y(x_t)/∂A_k) · (A_k(x_t) − A_k(x')))`` with ``x_t = x' + (t/m) (x − x')`` and
    x' the baseline: maps are averaged, not weights. Unit of the logit, ≥ 0. Costs ``num_steps`` + 1
    evaluations per image and layer.

    The authors' notebook leaves A_k(x') out; here it is subtracted, as in the paper's equations.

    Source: Sattarzadeh et al., "Integrated Grad-CAM: Sensitivity-Aware Visual Explanation of Deep Convolutional
    Networks via Integrated Gradient-Based Scoring", ICASSP 2021, https://arxiv.org/abs/2102.07805, eq. 6.

    Args:
        target_layer: See `LayerExplainer`.
        relu: Whether negative values of each step's map are cut.
        num_steps: Images on the path, m.
        baseline: The image x' from which the path starts; see `baseline_images`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_steps`` is below 1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2, bias=False))
        >>> _ = nn.init.constant_(net[3].weight, 2.0)
        >>> IntegratedGradCAM(num_steps=4)(
        ...     net, torch.tensor([[[[1.0, 3.0]]]]), target=0
        ... )  # weight 1, t/m 5/8 on average
        tensor([[[0.6250, 1.8750]]])
    """

    def __init__(
        self,
        target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto",
        *,
        relu: bool = True,
        num_steps: int = 50,
        baseline: Baseline = 0.0,
    ) -> None:
        check_count(num_steps, "num_steps")
        super().__init__(target_layer, relu=relu)
        self.num_steps = num_steps
        self.baseline = checked_baseline(baseline)

    @property
    def evaluations(self) -> int:
        """The images on the path and the one that it starts from, for each layer."""
        return self.num_layers * (self.num_steps + 1)

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``mean_ij g_k`` of one step's images."""
        return layer.gradients.mean((2, 3), keepdim=True)

    def layer_map(self, layer: LayerView) -> Tensor:
        """Return the mean of the steps' maps: maps are averaged, not weights."""
        empty = baseline_images(layer.images, self.baseline).expand_as(layer.images)
        start = layer.of(empty, gradients=False).activations
        total = torch.zeros_like(start[:, 0])
        for step in range(1, self.num_steps + 1):
            there = layer.of(empty + (layer.images - empty) * (step / self.num_steps), gradients=True)
            total = total + self.weighted_sum(self.feature_weights(there), there.activations - start)
        return total / self.num_steps
