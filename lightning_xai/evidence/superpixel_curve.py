"""The class score while superpixels are removed, most relevant first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.evidence.baseline import Baseline, baseline_images, check_baseline
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.ranking import ranks
from lightning_xai.evidence.regions import region_means
from lightning_xai.evidence.superpixels import superpixels

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class SuperpixelCurve(Evidence):
    """Probability of the target after 0, 1, 2 … of an image's L superpixels are removed, (N, max L + 1).

    Rows of images with fewer superpixels end in NaN. Superpixels are ranked by their mean heat.

    Args:
        baseline: What removed superpixels become; see `baseline_images`.
        seed: Of random ties.

    Raises:
        ValueError: If the baseline is unknown.
    """

    baseline: Baseline = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_baseline(self.baseline)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 301, the most that an image can need; min(300, HW // 64) superpixels are asked for."""
        return 301

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, max L + 1)."""
        intact = case.classifier.select(case.logits, case.target, "probability")
        rows = [torch.cat([intact[i : i + 1], self._row(case, i)]) for i in range(len(case))]
        longest = max(len(row) for row in rows)
        return torch.stack([torch.nn.functional.pad(row, (0, longest - len(row)), value=torch.nan) for row in rows])

    def _row(self, case: Case, index: int) -> Tensor:
        one = slice(index, index + 1)
        image, key, target = case.images[one], case.keys[one], case.target[one]
        labels, count = superpixels(image[0])
        relevance = region_means(case.heatmaps[one], labels, count)
        place = ranks(relevance, key, seed=self.seed)[0][labels]
        replaced = baseline_images(image, self.baseline, key, seed=self.seed)

        def build(chunk: slice) -> Tensor:
            removed = torch.arange(chunk.start + 1, chunk.stop + 1, device=image.device)[:, None, None, None]
            return torch.where(place < removed, replaced, image)

        def read(logits: Tensor, _: slice) -> Tensor:
            return case.classifier.select(logits, target.expand(len(logits)), "probability")

        return case.classifier.evaluate(count, build, read)
