"""The class score while superpixels are removed, most relevant first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai._segments import superpixels
from lightning_xai.evidence.masking.baseline import Baseline, baseline_images, check_baseline
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.masking.ranking import ranks
from lightning_xai.evidence.masking.segments import region_means

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class SuperpixelCurve(Masking):
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

    @property
    def changes(self) -> str:
        """What happens along the curve."""
        return "superpixels removed"

    def shares(self, case: Case) -> Tensor:
        """Return k / L, float32 (N, max L + 1), NaN where an image has fewer superpixels."""
        curve: Tensor = case[self]
        place = torch.arange(curve.shape[1], device=curve.device).where(~curve.isnan(), torch.nan)
        return place / place.nan_to_num(0.0).amax(1, keepdim=True)

    def frames(self, case: Case, image: int, points: Sequence[int]) -> Tensor:
        """Return one image without its k most relevant superpixels, for each k of ``points``, (n, C, H, W)."""
        without, _ = self._changed(case, image)
        return without(torch.tensor(points, device=case.images.device))

    def _row(self, case: Case, index: int) -> Tensor:
        without, count = self._changed(case, index)
        target = case.target[index : index + 1]

        def build(chunk: slice) -> Tensor:
            return without(torch.arange(chunk.start + 1, chunk.stop + 1, device=case.images.device))

        def read(logits: Tensor, _: slice) -> Tensor:
            return case.classifier.select(logits, target.expand(len(logits)), "probability")

        return case.classifier.evaluate(count, build, read)

    def _changed(self, case: Case, index: int) -> tuple[Callable[[Tensor], Tensor], int]:
        """Return a function of the numbers of removed superpixels, int64 (n,), that gives images; and their count."""
        one = slice(index, index + 1)
        image, key = case.images[one], case.keys[one]
        labels, count = superpixels(image[0])
        relevance = region_means(case.heatmaps[one], labels, count)
        place = ranks(relevance, key, seed=self.seed)[0][labels]
        replaced = baseline_images(image, self.baseline, key, seed=self.seed)
        return lambda removed: torch.where(place < removed[:, None, None, None], replaced, image), count
