"""Smooth Grad-CAM++."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_at_least, check_count
from lightning_xai.explainers.cam.layer_explainer import LayerExplainer, LayerView
from lightning_xai.explainers.noise import noisy_copy


class SmoothGradCAMPlusPlus(LayerExplainer):
    """Grad-CAM++ with the powers of the gradient averaged over noisy copies of the image.

    ``ReLU(Σ_k w_k A_k)``, ``w_k = Σ_ij α_ij ReLU(D₁)``, ``α = D₂ / (2 D₂ + S_k D₃)``, where ``D_p`` is the mean of
    ``g^p`` over the noisy copies, A belongs to the clean image, and ``S_k = max(0, Σ_ij A_k)``; unit of the logit, ≥ 0.
    Costs ``num_samples`` + 1 evaluations per image and layer; the noise of a sample is the same for all images.

    Deviations from the paper: D₃ and S_k are cut at 0, so that α stays in (0, 1/2] as in Grad-CAM++, to which this
    reduces without noise; as written, α has a pole where D₃ is negative, and one place decides the whole map. The
    gradients are divided by their greatest magnitude meanwhile, since cubes of real gradients underflow.

    Source: Omeiza et al., "Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep
    Convolutional Neural Network Models", 2019, https://arxiv.org/abs/1908.01224, eq. 8.

    Args:
        target_layer: See `LayerExplainer`.
        relu: See `LayerExplainer`.
        num_samples: Noisy copies.
        noise_level: Standard deviation of the noise, as a share of each image's max − min.
        seed: Of the noise.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_samples`` is below 1 or ``noise_level`` is negative.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 1))
        >>> net[2].weight.data = torch.tensor([[2.0, -1.0]])
        >>> explainer = SmoothGradCAMPlusPlus(num_samples=3)
        >>> explainer(net, torch.tensor([[[[3.0, 1.0]]]]), target=1)  # a linear network: Grad-CAM++'s map
        tensor([[[0.6000, 0.2000]]])
    """

    needs_gradients = False  # of the clean images

    def __init__(
        self,
        target_layer: str | nn.Module | Sequence[str | nn.Module] = "auto",
        *,
        relu: bool = True,
        num_samples: int = 25,
        noise_level: float = 0.15,
        seed: int = 0,
    ) -> None:
        check_count(num_samples, "num_samples")
        check_at_least(noise_level, 0, "noise_level")
        check_count(seed, "seed", least=-math.inf)
        super().__init__(target_layer, relu=relu)
        self.num_samples = num_samples
        self.noise_level = noise_level
        self.seed = seed

    @property
    def evaluations(self) -> int:
        """The noisy copies and the clean image, for each layer."""
        return self.num_layers * (self.num_samples + 1)

    def feature_weights(self, layer: LayerView) -> Tensor:
        """Return ``Σ_ij α ReLU(D₁)``."""
        moments = _GradientMoments(len(layer.images), layer.images.device)
        for sample in range(self.num_samples):
            noisy = noisy_copy(layer.images, self.noise_level, seed=self.seed, sample=sample)
            moments.add(layer.of(noisy, gradients=True).gradients)
        return moments.contributions(layer.activations, self.num_samples).sum((2, 3), keepdim=True)


class _GradientMoments:
    """Sums of g, g² and g³ over the samples, in units of each image's greatest magnitude so far."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._peak = torch.zeros(count, 1, 1, 1, device=device)
        self._sums = [torch.zeros_like(self._peak) for _ in range(3)]

    def add(self, gradients: Tensor) -> None:
        """Add a sample's gradients (n, C, h, w)."""
        peak = torch.maximum(self._peak, gradients.abs().amax((1, 2, 3), keepdim=True))
        unit = torch.where(peak > 0, peak, 1.0)
        shrunk, scaled = self._peak / unit, gradients / unit
        self._sums = [total * shrunk**power + scaled**power for power, total in enumerate(self._sums, 1)]
        self._peak = peak

    def contributions(self, activations: Tensor, count: int) -> Tensor:
        """Return ``α ReLU(D₁)`` of each place after ``count`` samples, (n, C, h, w)."""
        first, second, third = self._sums
        total = activations.sum((2, 3), keepdim=True).relu()
        below = 2.0 * second + total * self._peak * third.relu()
        alpha = torch.where(second > 0, second / below, 0.0)
        return alpha * first.relu() * self._peak / count
