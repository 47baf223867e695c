"""A random heatmap, the fair control for a class activation map."""

from __future__ import annotations

import math

from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai._randomness import content_keys, uniform
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier


class RandomHeatmap(Explainer):
    """Return uniform noise in [0, 1) that belongs to the image: the same in any batch, chunk, rank and epoch.

    Any score of an explainer means something only next to this one's, because confidence alone moves masking curves.
    Drawn on a coarse grid and upsampled, its blobs are as large as those of a class activation map. Costs no
    evaluation.

    Args:
        grid: Cells per side; None draws every pixel.
        seed: Of the noise.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If ``grid`` is below 1.

    Example:
        >>> import torch
        >>> RandomHeatmap()(torch.nn.Flatten(), torch.rand(2, 3, 8, 8), target=0).shape
        torch.Size([2, 8, 8])
    """

    evaluations = 0
    class_discriminative = False

    def __init__(self, grid: int | None = 7, seed: int = 0) -> None:
        if grid is not None:
            check_count(grid, "grid")
        check_count(seed, "seed", least=-math.inf)
        self.grid = grid
        self.seed = seed

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:  # noqa: ARG002
        """Return noise at the resolution of the grid."""
        size = (images.shape[2], images.shape[3]) if self.grid is None else (self.grid, self.grid)
        return uniform(content_keys(images), size, seed=self.seed)
