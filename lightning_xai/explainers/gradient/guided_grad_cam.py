"""Guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_xai.explainers.cam.grad_cam import GradCAM
from lightning_xai.explainers.gradient.guided_backprop import GuidedBackprop, guided_gradient
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.model.classifier import Classifier


class GuidedGradCAM(PixelExplainer):
    """Keep of guided backpropagation what lies where Grad-CAM sees the class: fine edges, and only its own.

    ``Σ_c up(GradCAM) ⊙ GuidedBackprop_c`` over channels c: signed. Grad-CAM is upsampled bilinearly, as in the paper;
    captum's default is nearest, which draws blocks. Costs two evaluations per image, and
    one more for each layer after the first.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017, https://arxiv.org/abs/1610.02391, section 3.2.

    Args:
        target_layer: See `LayerExplainer`.
        reduction: See `PixelExplainer`.

    Raises:
        TypeError: If ``target_layer`` is no layer.
        ValueError: When called, if the network is one that `GuidedBackprop` refuses.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1))
        >>> _ = nn.init.constant_(net[0].weight, 2.0), nn.init.zeros_(net[0].bias)
        >>> net[3].weight.data = torch.tensor([[3.0, -1.0]])
        >>> image = torch.tensor([[[[5.0, 1.0]]]])
        >>> GuidedGradCAM("1")(net, image, target=1)  # Grad-CAM: 1 * (10, 2); guided: 2 * (3, 0)
        tensor([[[60., 0.]]])
    """

    refuses = GuidedBackprop.refuses

    def __init__(
        self, target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto", *, reduction: Reduction = "sum"
    ) -> None:
        super().__init__(reduction=reduction)
        self._grad_cam = GradCAM(target_layer)
        self.target_layer = target_layer

    @property
    def evaluations(self) -> int:
        """One for guided backpropagation, and one for each layer of Grad-CAM."""
        return 1 + self._grad_cam.num_layers

    @property
    def picked(self) -> list[str]:
        """What the last call captured for Grad-CAM; see `LayerExplainer`."""
        return self._grad_cam.picked

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return the product, (n, C, H, W)."""
        guided = guided_gradient(classifier, images, target)
        return guided * self._grad_cam(classifier, images, target)[:, None]
