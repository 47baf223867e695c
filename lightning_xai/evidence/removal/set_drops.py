"""What happens when consecutive parts of the ranking are removed one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice, check_count
from lightning_xai._randomness import uniform
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.heat import TIES, Ties, ranks
from lightning_xai.evidence.removal.changed_images import scores_of_changed_images
from lightning_xai.evidence.removal.subset_drops import Drops

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class SetDrops(Evidence[Drops]):
    """Pixels in the order of their heat, cut into ``num_sets`` equal sets, each removed alone.

    `Drops` with attribution (N, num_sets) and drop (N, num_sets, num_draws) of the target's probability.

    Args:
        num_sets: Sets; the first holds the most relevant pixels, the last the least relevant ones.
        by: What pixels are ordered by and what is summed: the ``"value"`` of the heat or its ``"magnitude"``.
        baseline: What a removed set becomes; ``"uniform"`` noise is drawn anew for each of the draws.
        num_draws: Draws of a noise baseline.
        seed: Of ties and noise.
        ties: See `ranks`.

    Raises:
        ValueError: If a setting is out of range.
    """

    num_sets: int = 64
    by: Literal["value", "magnitude"] = "value"
    baseline: AnyBaseline = "minimum"
    num_draws: int = 1
    seed: int = 0
    ties: Ties = "random"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.ties, TIES, "ties")
        check_count(self.num_sets, "num_sets")
        check_choice(self.by, ("value", "magnitude"), "by")
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))
        check_count(self.num_draws, "num_draws")

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return one per set and draw, and the unchanged image."""
        return self.num_sets * self.num_draws + 1

    def collect(self, case: Case) -> Drops:
        """Return the drops."""
        heat = case.heatmaps.flatten(1)
        heat = heat.abs() if self.by == "magnitude" else heat
        rank = ranks(heat, case.keys, ties=self.ties, seed=self.seed)
        edges = torch.arange(self.num_sets + 1, dtype=torch.float64, device=heat.device) * heat.shape[1]
        edges = (edges / self.num_sets).round().long()
        set_index = torch.bucketize(rank, edges[1:-1], right=True)
        attribution = torch.zeros(len(case), self.num_sets, device=heat.device).scatter_add_(1, set_index, heat)
        set_index = set_index.view(len(case), 1, *case.images.shape[2:])

        def build(image_index: Tensor, version_index: Tensor) -> Tensor:
            removed = set_index[image_index] == (version_index // self.num_draws)[:, None, None, None]
            return torch.where(removed, self._replaced(case, image_index, version_index), case.images[image_index])

        scores = scores_of_changed_images(case, self.num_sets * self.num_draws, build)
        scores = scores.view(len(case), self.num_sets, self.num_draws)
        intact = case.classifier.select(case.logits, case.target, "probability")
        return Drops(attribution, intact[:, None, None] - scores)

    def _replaced(self, case: Case, image_index: Tensor, version_index: Tensor) -> Tensor:
        images, keys = case.images[image_index], case.keys[image_index]
        if self.baseline != "uniform":
            return baseline_images(images, self.baseline, keys).expand_as(images)
        low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        draw = version_index % self.num_draws
        noise = uniform(keys, tuple(images.shape[1:]), seed=self.seed, sample=draw, purpose="baseline")
        return low + noise.to(images.dtype) * (high - low)
