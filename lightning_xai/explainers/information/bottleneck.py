"""Noise in the place of feature maps, and the information that gets past it."""

from __future__ import annotations

import torch
from torch import Tensor


class Bottleneck:
    """Feature maps R that are mixed with noise of their own distribution, ``Z = λR + (1 − λ)ε``, ε ~ N(μ, σ²).

    ``λ = blur(sigmoid(α))``: 1 lets everything pass, 0 nothing. What never differs from 0 in the data, a unit that no
    image activates, stays 0 and holds no information.

    Args:
        activations: R, float32 (n, C, h, w).
        mean: μ of each unit, (C, h, w).
        std: σ of each unit, > 0, (C, h, w).
        active: Which units the data activate, boolean (C, h, w).
        blur: Standard deviation of the Gaussian that smooths the mask, in places of the layer; 0 for none.
    """

    def __init__(self, activations: Tensor, mean: Tensor, std: Tensor, active: Tensor, blur: float) -> None:
        self._mean, self._std, self._active = mean, std, active
        self._normalized = (activations - mean) / std
        self._rows, self._columns = (blur_matrix(size, blur, activations) for size in activations.shape[2:])

    def mixed(self, alpha: Tensor, noise: Tensor) -> Tensor:
        """Return Z.

        Args:
            alpha: α, (n, C, h, w).
            noise: N(0, 1), (m, C, h, w), the same for every image.

        Returns:
            (m, n, C, h, w).
        """
        passing = self._blurred(alpha.sigmoid())
        mixed = passing * self._normalized + self._blurred((-alpha).sigmoid()) * noise[:, None]
        return torch.where(self._active, mixed * self._std + self._mean, 0.0)

    def information(self, alpha: Tensor) -> Tensor:
        """Return how many nats about R each unit of Z holds at most, (n, C, h, w); see `divergence`."""
        nats = divergence(self._normalized.to(alpha), self._blurred(alpha.sigmoid()), self._blurred((-alpha).sigmoid()))
        return torch.where(self._active, nats, 0.0)

    def _blurred(self, mask: Tensor) -> Tensor:
        return self._rows.to(mask) @ mask @ self._columns.to(mask).T


def divergence(normalized: Tensor, passing: Tensor, closed: Tensor) -> Tensor:
    """Return KL[N(λr, (1 − λ)²) ‖ N(0, 1)] in nats, ≥ 0: ``½(λ²r² + (1 − λ)² − 1) − ln(1 − λ)``.

    Args:
        normalized: r, units with mean 0 and standard deviation 1 over the data.
        passing: λ.
        closed: 1 − λ, given by itself because it is small where λ is near 1.

    Example:
        >>> divergence(torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.0]), torch.tensor([0.5, 1.0]))
        tensor([0.4431, 0.0000])
    """
    return 0.5 * ((passing * normalized) ** 2 + closed**2 - 1.0) - closed.log()


def blur_matrix(size: int, sigma: float, like: Tensor) -> Tensor:
    """Return what blurs a line of ``size`` places by multiplying it: a Gaussian cut at 2σ, reflected at the borders."""
    radius = round(2 * sigma)
    impulses = torch.eye(size, dtype=torch.float64, device="cpu")
    if radius > 0 and size > 1:
        from scipy.ndimage import gaussian_filter1d

        impulses = torch.from_numpy(gaussian_filter1d(impulses.numpy(), sigma, axis=0, mode="mirror", radius=radius))
    return impulses.to(like)
