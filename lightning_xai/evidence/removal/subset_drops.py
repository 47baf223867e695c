"""How far the score falls when random subsets of the image are removed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice, check_count
from lightning_xai._randomness import uniform
from lightning_xai._segments import grid_labels
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.removal.changed_images import scores_of_changed_images
from lightning_xai.model.classifier import Score

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Drops:
    """Summed attribution of removed parts beside what their removal did, float32.

    Attributes:
        attribution: Sum of the heat of the removed pixels, (N, ...).
        drop: Score of the unchanged image minus that without them, (N, ...).
    """

    attribution: Tensor
    drop: Tensor


@dataclass(frozen=True)
class SubsetDrops(Evidence[Drops]):
    """Drops for ``num_subsets`` random subsets of cells of each size, (N, len(sizes), num_subsets).

    Subsets belong to the image: the same for every heatmap, batch, rank and epoch.

    Args:
        sizes: Numbers of cells that are removed together.
        num_subsets: Subsets of each size.
        grid: Rows and columns of cells.
        baseline: What removed cells become; see `baseline_images`.
        score: ``"probability"`` or ``"logit"`` of the target.
        seed: Of the subsets.

    Raises:
        ValueError: If a size is not between 1 and the number of cells, or another setting is out of range.
    """

    sizes: tuple[int, ...] = (39,)
    num_subsets: int = 100
    grid: tuple[int, int] = (14, 14)
    baseline: AnyBaseline = 0.0
    score: Score = "probability"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_subsets, "num_subsets")
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))
        check_choice(self.score, ("probability", "logit"), "score")
        num_cells = math.prod(self.grid)
        if not self.sizes or not all(1 <= size <= num_cells for size in self.sizes):
            raise ValueError(f"Expected `sizes` between 1 and the {num_cells} cells of the grid, but got {self.sizes}.")

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return one per subset, and the unchanged image."""
        return len(self.sizes) * self.num_subsets + 1

    def collect(self, case: Case) -> Drops:
        """Return the drops."""
        size = (case.images.shape[2], case.images.shape[3])
        num_cells = math.prod(self.grid)
        labels = grid_labels(size, self.grid, case.images.device)
        replaced = baseline_images(case.images, self.baseline, case.keys, seed=self.seed).expand_as(case.images)
        sizes = torch.tensor(self.sizes, device=labels.device)

        def removed(image_index: Tensor, version_index: Tensor) -> Tensor:
            """Return the removed cells, boolean (n, num_cells): those with the smallest random numbers."""
            keys = case.keys[image_index]
            random_order = uniform(keys, (num_cells,), seed=self.seed, sample=version_index, purpose="subsets")
            return random_order.argsort(dim=1).argsort(dim=1) < sizes[version_index // self.num_subsets][:, None]

        def build(image_index: Tensor, version_index: Tensor) -> Tensor:
            is_removed = removed(image_index, version_index)[:, labels][:, None]
            return torch.where(is_removed, replaced[image_index], case.images[image_index])

        num_versions = len(self.sizes) * self.num_subsets
        scores = scores_of_changed_images(case, num_versions, build, self.score)
        intact = case.classifier.select(case.logits, case.target, self.score)
        heat = torch.zeros(len(case), num_cells, device=labels.device)
        heat.scatter_add_(1, labels.flatten().expand(len(case), -1), case.heatmaps.flatten(1))
        every = torch.arange(num_versions, device=labels.device)
        attribution = [removed(torch.full_like(every, i), every).float() @ heat[i] for i in range(len(case))]
        shape = (len(case), len(self.sizes), self.num_subsets)
        return Drops(torch.stack(attribution).view(shape), (intact[:, None] - scores).view(shape))
