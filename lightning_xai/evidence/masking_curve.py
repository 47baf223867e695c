"""The class score while pixels are removed or brought back in the order of their relevance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, check_count
from lightning_xai.evidence.baseline import Baseline, baseline_images, check_baseline
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.ranking import ORDERS, TIES, Order, Ranking, Ties
from lightning_xai.evidence.regions import check_grid

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

    @property
    def ranking(self) -> Ranking:
        """The order in which pixels are changed; curves in both directions share it."""
        return Ranking(self.ties, self.order, self.grid, self.seed)

    @property
    def reads(self) -> tuple[Evidence, ...]:
        """The ranking."""
        return (self.ranking,)

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
        self._ranks: Tensor = case[curve.ranking]
        units = math.prod(curve.grid or images.shape[2:])
        steps = torch.arange(curve.num_steps + 1, dtype=torch.float64, device=images.device)
        counts = (steps * units / curve.num_steps).round().int()[:, None, None, None]
        self._counts = counts[1:] if curve.direction == "deletion" else counts[:-1]

    def __len__(self) -> int:
        return len(self._case) * len(self._counts)

    def build(self, chunk: slice) -> Tensor:
        """Return the frames of a chunk, (n, C, H, W)."""
        first, last = self._ends
        frames = first.new_empty(chunk.stop - chunk.start, *first.shape[1:])
        for image, steps, place in self._parts(chunk):
            changed = (self._ranks[image] < self._counts[steps]).to(frames.dtype)
            torch.lerp(first[image], last[image], changed, out=frames[place])  # 0 or 1: exact, and faster than `where`
        return frames

    def read(self, logits: Tensor, chunk: slice) -> Tensor:
        """Return the probability of each frame's target class, (n,); that the model has it was checked once."""
        image = torch.arange(chunk.start, chunk.stop, device=logits.device) // len(self._counts)
        return self._case.classifier.probabilities(logits).gather(1, self._case.target[image, None])[:, 0]

    def _parts(self, chunk: slice) -> Iterator[tuple[int, slice, slice]]:
        """Yield each image of a chunk, its steps there, and their places in the chunk."""
        start = chunk.start
        while start < chunk.stop:
            image, step = divmod(start, len(self._counts))
            stop = min(chunk.stop, start + len(self._counts) - step)
            yield image, slice(step, step + stop - start), slice(start - chunk.start, stop - chunk.start)
            start = stop


def area(curve: Tensor) -> Tensor:
    """Return the area under each row of a curve (N, K) with equal steps over [0, 1], by the trapezoid rule, (N,).

    Example:
        >>> area(torch.tensor([[0.0, 1.0, 1.0]]))
        tensor([0.7500])
    """
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)
