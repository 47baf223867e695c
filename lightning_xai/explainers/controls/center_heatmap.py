"""A centred Gaussian, the control for localization."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier


class CenterHeatmap(Explainer):
    """Return a Gaussian around the centre, in (0, 1]: photographers centre their objects.

    A localization score means something only next to this one's. Costs no evaluation.

    Args:
        sigma: Standard deviation as a fraction of each side.

    Raises:
        ValueError: If ``sigma`` is not positive.

    Example:
        >>> import torch
        >>> CenterHeatmap()(torch.nn.Flatten(), torch.zeros(1, 1, 3, 3), target=0)[0, 1]
        tensor([0.4111, 1.0000, 0.4111])
    """

    evaluations = 0
    class_discriminative = False

    def __init__(self, sigma: float = 0.25) -> None:
        check_at_least(sigma, 0.0, "sigma", strict=True)
        self.sigma = sigma

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:  # noqa: ARG002
        """Return the Gaussian, once per image."""
        axes = [self._profile(size, images.device) for size in images.shape[2:]]
        return (axes[0][:, None] * axes[1][None, :]).expand(len(images), -1, -1).clone()

    def _profile(self, size: int, device: torch.device) -> Tensor:
        position = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size - 0.5
        return torch.exp(-0.5 * (position / self.sigma) ** 2)
