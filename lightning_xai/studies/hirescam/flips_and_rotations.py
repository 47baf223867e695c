"""How the thesis changes images in training."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class FlipsAndRotations:
    """Flip each image of a batch with probability ½ in both directions, and turn it by a random angle.

    Beyond the edges the image is mirrored. Random numbers are torch's.

    Args:
        degrees: The greatest angle.
    """

    def __init__(self, degrees: float = 15.0) -> None:
        self.degrees = degrees

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed images (N, C, H, W)."""
        count = len(images)
        angle = (2 * torch.rand(count) - 1) * math.radians(self.degrees)
        across, down = (1 - 2 * torch.randint(0, 2, (2, count))).float()
        rows = [angle.cos() * across, -angle.sin() * down, angle.sin() * across, angle.cos() * down]
        matrix = torch.stack(rows, 1).view(count, 2, 2)
        theta = torch.cat([matrix, torch.zeros(count, 2, 1)], 2).to(images)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
