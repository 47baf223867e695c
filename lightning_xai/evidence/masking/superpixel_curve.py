"""The class score while superpixels are removed, most relevant first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._segments import segment_means, superpixels
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.masking.ranking import ranks

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

    baseline: AnyBaseline = "mean"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))

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
    def description(self) -> str:
        """What happens along the curve."""
        return "superpixels removed"

    def share_changed(self, case: Case) -> Tensor:
        """Return k / L, float32 (N, max L + 1), NaN where an image has fewer superpixels."""
        curve = case[self]
        num_removed = torch.arange(curve.shape[1], device=curve.device).where(~curve.isnan(), torch.nan)
        return num_removed / num_removed.nan_to_num(0.0).amax(1, keepdim=True)

    def changed_images(self, case: Case, image_index: int, points: Sequence[int]) -> Tensor:
        """Return one image without its k most relevant superpixels, for each k of ``points``, (n, C, H, W)."""
        without, _ = self._without_most_relevant(case, image_index)
        return without(torch.tensor(points, device=case.images.device))

    def _row(self, case: Case, image_index: int) -> Tensor:
        without, num_superpixels = self._without_most_relevant(case, image_index)
        target = case.target[image_index : image_index + 1]

        def build(chunk: slice) -> Tensor:
            return without(torch.arange(chunk.start + 1, chunk.stop + 1, device=case.images.device))

        def read(logits: Tensor, _: slice) -> Tensor:
            return case.classifier.select(logits, target.expand(len(logits)), "probability")

        return case.classifier.evaluate(
            num_superpixels, build, read, owners=lambda chunk: torch.full((chunk.stop - chunk.start,), image_index)
        )

    def _without_most_relevant(self, case: Case, image_index: int) -> tuple[Callable[[Tensor], Tensor], int]:
        """Return a function of numbers of superpixels, int64 (n,), that gives images without as many; and the most."""
        one = slice(image_index, image_index + 1)
        image, key = case.images[one], case.keys[one]
        labels, num_superpixels = superpixels(image[0])
        relevance = segment_means(case.heatmaps[one], labels, num_superpixels)
        rank = ranks(relevance, key, seed=self.seed)[0][labels]
        replaced = baseline_images(image, self.baseline, key, seed=self.seed)

        def without(num_removed: Tensor) -> Tensor:
            return torch.where(rank < num_removed[:, None, None, None], replaced, image)

        return without, num_superpixels
