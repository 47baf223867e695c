"""SmoothGrad."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least, check_count
from lightning_xai._randomness import normal
from lightning_xai.explainers.gradient.pixel_explainer import PixelExplainer
from lightning_xai.explainers.gradient.reduction import Reduction
from lightning_xai.explainers.gradient.target_gradient import at_least_float, summed_gradients
from lightning_xai.model.classifier import Classifier


class SmoothGrad(PixelExplainer):
    """Average the gradient over noisy copies of the image, so that its flicker cancels.

    ``max_c |1/S Σ_s ∂y/∂x_c (x + σ ε_s)|``, ``ε_s ~ N(0, 1)``, ``σ = noise_level · (max x − min x)`` of each image:
    unit of the logit per unit of the image, ≥ 0. The signed gradients are averaged, magnitudes taken at the end. The
    noise belongs to (seed, sample): the same for every image, batch and epoch. Costs ``num_samples`` evaluations per
    image; memory does not grow with them.

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, https://arxiv.org/abs/1706.03825.

    Args:
        num_samples: Noisy copies S.
        noise_level: Standard deviation as a fraction of the image's range; the paper advises .1 to .2.
        seed: Of the noise.
        reduction: See `PixelExplainer`.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``num_samples`` is below 1 or ``noise_level`` is negative.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        >>> net[1].weight.data = torch.tensor([[2.0, -3.0]])
        >>> SmoothGrad(4)(net, torch.tensor([[[[5.0, 1.0]]]]), target=1)  # the gradient is the same everywhere
        tensor([[[2., 3.]]])
    """

    def __init__(
        self, num_samples: int = 25, noise_level: float = 0.15, seed: int = 0, *, reduction: Reduction = "abs_max"
    ) -> None:
        super().__init__(reduction=reduction)
        check_count(num_samples, "num_samples")
        check_at_least(noise_level, 0.0, "noise_level")
        check_count(seed, "seed", least=-math.inf)
        self.num_samples = num_samples
        self.noise_level = noise_level
        self.seed = seed

    @property
    def evaluations(self) -> int:
        """``num_samples``."""
        return self.num_samples

    def attributions(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return the mean gradient."""
        images = at_least_float(images)
        sigma = self.noise_level * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
        shared = torch.zeros(1, dtype=torch.int64, device=images.device)
        weight = torch.tensor(1.0 / self.num_samples, device=images.device)

        def sample(index: int) -> tuple[Tensor, Tensor]:
            noise = normal(shared, tuple(images.shape[1:]), seed=self.seed, sample=index)
            return images + sigma * noise, weight

        return summed_gradients(classifier, images, target, self.num_samples, sample)
