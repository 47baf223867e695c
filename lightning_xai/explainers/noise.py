"""Noise that an explainer adds to images: the same for every image, batch and epoch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_xai._randomness import normal, uniform

Noise = Literal["uniform", "gaussian"]


def noisy_copy(images: Tensor, level: float, *, seed: int, sample: int, noise: Noise = "gaussian") -> Tensor:
    """Return ``images + level · (max − min) · n`` with n of mean 0 and variance 1, one n for all images.

    Args:
        images: (N, C, H, W).
        level: Standard deviation of the noise, as a share of each image's max − min.
        seed: Of the noise.
        sample: Index of the copy.
        noise: ``"gaussian"``, N(0, 1), or ``"uniform"``, √12 · (U(0, 1) − ½), in [−√3, √3).

    Returns:
        (N, C, H, W), of the images' type.
    """
    key = torch.zeros(1, dtype=torch.int64, device=images.device)
    size = (images.shape[1], images.shape[2], images.shape[3])
    if noise == "gaussian":
        drawn = normal(key, size, seed=seed, sample=sample)
    else:
        drawn = (uniform(key, size, seed=seed, sample=sample, purpose="noise") - 0.5) * 12**0.5
    spread = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
    return images + level * spread * drawn.to(images.dtype)
