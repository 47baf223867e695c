"""Integrated Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_count
from lightning_xai.explainers.cam.layer_explainer import LayerExplainer
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layer.capture import capture
from lightning_xai.model.layer.search import CapturePoint


class IntegratedGradCAM(LayerExplainer):
    """Average Grad-CAM's maps along the straight path from a black image, so that saturation hides nothing.

    ``(1/m) Σ_{t=1..m} ReLU(Σ_k mean_ij(∂y(x_t)/∂A_k) · (A_k(x_t) − A_k(x')))`` with ``x_t = x' + (t/m) (x − x')`` and
    x' = 0 as the model sees images: maps are averaged, not weights. Unit of the logit, ≥ 0. Costs ``num_steps`` + 1
    evaluations per image and layer.

    The authors' notebook leaves A_k(x') out; here it is subtracted, as in the paper's equations.

    Source: Sattarzadeh et al., "Integrated Grad-CAM: Sensitivity-Aware Visual Explanation of Deep Convolutional
    Networks via Integrated Gradient-Based Scoring", ICASSP 2021, https://arxiv.org/abs/2102.07805, eq. 6.

    Args:
        target_layer: See `LayerExplainer`.
        relu: Whether negative values of each step's map are cut.
        num_steps: Images on the path, m.

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
    ) -> None:
        check_count(num_steps, "num_steps")
        super().__init__(target_layer, relu=relu)
        self.num_steps = num_steps

    @property
    def evaluations(self) -> int:
        """The images on the path and the black one, for each layer."""
        return self.num_layers * (self.num_steps + 1)

    def raw_map(self, classifier: Classifier, images: Tensor, target: Tensor, point: CapturePoint) -> Tensor:
        """Return the mean of the steps' maps, each of them rectified already."""
        start = capture(classifier, torch.zeros_like(images), target, point, gradients=False).activations
        total = torch.zeros(len(images), *start.shape[2:], device=images.device)
        for step in range(1, self.num_steps + 1):
            found = capture(classifier, images * (step / self.num_steps), target, point)
            change = replace(found, activations=found.activations - start)
            raw = self.from_capture(change, classifier, target)
            total = total + (raw.relu() if self.relu else raw)
        return total / self.num_steps

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Return ``Σ_k mean(g_k) A_k``; ``activations`` are differences from the black image's."""
        weights = gradients.mean((2, 3), keepdim=True)
        return (weights * activations).sum(1)
