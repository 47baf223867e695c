"""The class score while superpixels are removed, most relevant first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice
from lightning_xai._segments import segment_means, superpixels
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.heat import TIES, Ties, ranks
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.masking.quadrature import NUM_NODES, Quadrature, every, radau

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


SuperpixelSteps: TypeAlias = Literal["radau", "all"]
_MOST = 300


@dataclass(frozen=True)
class Superpixels(Evidence[Tensor]):
    """Superpixel of each pixel, int64 (N, H, W), from 0 on; found once for all heatmaps of an image."""

    inputs: ClassVar[frozenset[str]] = frozenset({"images"})

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 0."""
        return 0

    def collect(self, case: Case) -> Tensor:
        """Return int64 (N, H, W)."""
        return torch.stack([superpixels(image)[0] for image in case.images])


@dataclass(frozen=True)
class SuperpixelCurve(Masking):
    """Probability of the target while more and more of an image's L superpixels are removed, (N, P).

    Superpixels are ranked by their mean heat. Rows of images with fewer points end in NaN.

    Args:
        baseline: What removed superpixels become; see `baseline_images`.
        seed: Of random ties.
        num_steps: ``"radau"`` for the ten points of a quadrature beside the unchanged image, rounded to whole
            superpixels, P ≤ 11; ``"all"`` for every number of superpixels from 0 to L.
        ties: See `ranks`.

    Raises:
        ValueError: If the baseline or ``num_steps`` is unknown.
    """

    baseline: AnyBaseline = "mean"
    seed: int = 0
    num_steps: SuperpixelSteps = "radau"
    ties: Ties = "random"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.ties, TIES, "ties")
        check_choice(self.num_steps, ("radau", "all"), "num_steps")
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 11, or the 301 that an image can need at most; min(300, HW // 64) superpixels are asked for."""
        return 1 + (NUM_NODES if self.num_steps == "radau" else _MOST)

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, P)."""
        intact = case.classifier.select(case.lowered_logits, case.target, "probability")
        rows = [torch.cat([intact[i : i + 1], self._row(case, i)]) for i in range(len(case))]
        return _padded(rows, torch.nan)

    @property
    def description(self) -> str:
        """What happens along the curve."""
        return "superpixels removed"

    def share_changed(self, case: Case) -> Tensor:
        """Return the share of the superpixels that is removed at each point, float32 (N, P), NaN after a row's end."""
        counts = [self._num_superpixels(case, image_index) for image_index in range(len(case))]
        return _padded(
            [torch.tensor(self._quadrature(count).num_changed, device=case.images.device) / count for count in counts],
            torch.nan,
        )

    def weights(self, case: Case) -> Tensor:
        """Return what each point counts for in an area over [0, 1], float32 (N, P), 0 after a row's end."""
        counts = [self._num_superpixels(case, image_index) for image_index in range(len(case))]
        return _padded(
            [torch.tensor(self._quadrature(count).weights, device=case.images.device) for count in counts], 0.0
        )

    def changed_images(self, case: Case, image_index: int, points: Sequence[int]) -> Tensor:
        """Return one image at some points of its curve, (n, C, H, W)."""
        num_removed = self._quadrature(self._num_superpixels(case, image_index)).num_changed
        wanted = [num_removed[point] for point in points]
        return self._without_most_relevant(case, image_index)(torch.tensor(wanted, device=case.images.device))

    def _row(self, case: Case, image_index: int) -> Tensor:
        """Return the scores of one image's points behind the first, which is the unchanged image."""
        without = self._without_most_relevant(case, image_index)
        target = case.target[image_index : image_index + 1]
        changed = self._quadrature(self._num_superpixels(case, image_index)).num_changed[1:]
        num_removed = torch.tensor(changed, device=case.images.device)

        def build(chunk: slice) -> Tensor:
            return without(num_removed[chunk])

        def read(logits: Tensor, _: slice) -> Tensor:
            return case.classifier.select(logits, target.expand(len(logits)), "probability")

        return case.classifier.lowered().evaluate(
            len(num_removed), build, read, owners=lambda chunk: torch.full((chunk.stop - chunk.start,), image_index)
        )

    def _quadrature(self, num_superpixels: int) -> Quadrature:
        return radau(num_superpixels) if self.num_steps == "radau" else every(num_superpixels)

    def _num_superpixels(self, case: Case, image_index: int) -> int:
        return int(case[Superpixels()][image_index].max()) + 1

    def _without_most_relevant(self, case: Case, image_index: int) -> Callable[[Tensor], Tensor]:
        """Return a function of numbers of superpixels, int64 (n,), that gives images without as many."""
        one = slice(image_index, image_index + 1)
        image, key = case.images[one], case.keys[one]
        labels = case[Superpixels()][image_index]
        relevance = segment_means(case.heatmaps[one], labels, self._num_superpixels(case, image_index))
        rank = ranks(relevance, key, ties=self.ties, seed=self.seed)[0][labels]
        replaced = baseline_images(image, self.baseline, key, seed=self.seed)

        def without(num_removed: Tensor) -> Tensor:
            return torch.where(rank < num_removed[:, None, None, None], replaced, image)

        return without


def _padded(rows: list[Tensor], value: float) -> Tensor:
    """Return rows of different lengths as float32 (N, P)."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.nn.functional.pad(row.float(), (0, longest - len(row)), value=value) for row in rows])
