"""The class score while pixels are removed or brought back in the order of their relevance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_count
from lightning_xai.evidence.baseline import Baseline, baseline_images, check_baseline
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.ranking import ORDERS, TIES, Order, Ties, ranks
from lightning_xai.evidence.regions import check_grid, grid_labels, region_means

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class MaskingCurve(Evidence):
    """Probability of the target class at ``num_steps + 1`` points, (N, num_steps + 1).

    Point k has ``round(k · N / num_steps)`` of the N pixels (or regions) changed. ``"deletion"`` goes from the image to
    the baseline, ``"insertion"`` from the baseline to the image. The unchanged image is evaluated once per case,
    so a curve costs ``num_steps`` evaluations per image beside it. Chunks run across images and steps; no more than a
    chunk of changed images exists at a time.

    Args:
        direction: ``"deletion"`` or ``"insertion"``.
        baseline: See `baseline_images`.
        num_steps: Equal parts of the curve.
        order: Most or least relevant first.
        ties: See `ranks`.
        grid: (rows, columns) of regions that are ranked by their mean heat and changed together; None for pixels.
        seed: Of random ties and noise baselines.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    direction: Literal["deletion", "insertion"] = "deletion"
    baseline: Baseline = 0.0
    num_steps: int = 32
    order: Order = "morf"
    ties: Ties = "random"
    grid: tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.direction, ("deletion", "insertion"), "direction")
        check_baseline(self.baseline)
        check_count(self.num_steps, "num_steps")
        check_choice(self.order, ORDERS, "order")
        check_choice(self.ties, TIES, "ties")
        check_count(self.seed, "seed", least=-math.inf)
        if self.grid is not None:
            object.__setattr__(self, "grid", check_grid(self.grid))

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return ``num_steps + 1``, the unchanged image included."""
        return self.num_steps + 1

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, num_steps + 1)."""
        classifier = case.classifier
        intact = classifier.select(case.logits, case.target, "probability")[:, None]
        changed = _Frames(self, case)
        scores = classifier.evaluate(len(changed), changed.build, changed.read).view(len(case), self.num_steps)
        return torch.cat([intact, scores] if self.direction == "deletion" else [scores, intact], 1)


class _Frames:
    """All changed images of a curve, numbered image by image and step by step, built when they are needed."""

    def __init__(self, curve: MaskingCurve, case: Case) -> None:
        self._case = case
        images = case.images
        replaced = baseline_images(images, curve.baseline, case.keys, seed=curve.seed).expand_as(images)
        self._ends = (images, replaced) if curve.direction == "deletion" else (replaced, images)
        self._ranks, self._units = _pixel_ranks(curve, case)
        steps = torch.arange(curve.num_steps + 1, dtype=torch.float64, device=images.device)
        counts = (steps * self._units / curve.num_steps).round().to(self._ranks.dtype)
        self._counts = counts[1:] if curve.direction == "deletion" else counts[:-1]

    def __len__(self) -> int:
        return len(self._case) * len(self._counts)

    def build(self, chunk: slice) -> Tensor:
        """Return the frames of a chunk, (n, C, H, W)."""
        image, step = self._numbers(chunk)
        changed = self._ranks[image] < self._counts[step, None, None, None]
        return torch.where(changed, self._ends[1][image], self._ends[0][image])

    def read(self, logits: Tensor, chunk: slice) -> Tensor:
        """Return the probability of each frame's target class, (n,)."""
        image, _ = self._numbers(chunk)
        return self._case.classifier.select(logits, self._case.target[image], "probability")

    def _numbers(self, chunk: slice) -> tuple[Tensor, Tensor]:
        frame = torch.arange(chunk.start, chunk.stop, device=self._ranks.device)
        return frame // len(self._counts), frame % len(self._counts)


def _pixel_ranks(curve: MaskingCurve, case: Case) -> tuple[Tensor, int]:
    """Return the rank of each pixel (its region's rank) as (N, 1, H, W), and the number of ranks."""
    heatmaps = case.heatmaps
    size = (heatmaps.shape[1], heatmaps.shape[2])
    relevance, labels = heatmaps.flatten(1), None
    if curve.grid is not None:
        labels = grid_labels(size, curve.grid, heatmaps.device)
        relevance = region_means(heatmaps, labels, curve.grid[0] * curve.grid[1])
    order = ranks(relevance, case.keys, ties=curve.ties, order=curve.order, seed=curve.seed)
    pixels = order if labels is None else order[:, labels.flatten()]
    return pixels.view(len(heatmaps), 1, *size).int(), relevance.shape[1]


def area(curve: Tensor) -> Tensor:
    """Return the area under each row of a curve (N, K) with equal steps over [0, 1], by the trapezoid rule, (N,).

    Example:
        >>> area(torch.tensor([[0.0, 1.0, 1.0]]))
        tensor([0.7500])
    """
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)
