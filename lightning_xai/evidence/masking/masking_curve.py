"""The class score while pixels are removed or brought back in the order of their relevance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai._segments import check_grid
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.masking.ranking import ORDERS, POOLINGS, TIES, Order, Pooling, Ranking, Ties
from lightning_xai.evidence.masking.refinement import FINEST, Refinement, refined

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Steps: TypeAlias = int | Literal["auto"]

_TOLERANCE = 0.01
_DONE = {"deletion": "removed", "insertion": "inserted"}


@dataclass(frozen=True)
class MaskingCurve(Masking):
    """Probability of the target class at ``num_steps + 1`` points, (N, num_steps + 1).

    Point k has ``round(k · N / num_steps)`` of the N pixels (or cells) changed. ``"deletion"`` goes from the image to
    the baseline, ``"insertion"`` from the baseline to the image. The unchanged image is evaluated once per case,
    so a curve costs ``num_steps`` evaluations per image beside it. Chunks run across images and steps; no more than a
    chunk of changed images exists at a time.

    With ``num_steps="auto"`` a curve of 224 parts is evaluated at 28 of them and then only where it changes most, until
    its area is known to ``tolerance``; see `refine` for what exactly is bounded. Between evaluated points it is
    straight.

    Args:
        direction: ``"deletion"`` or ``"insertion"``.
        baseline: See `baseline_images`.
        num_steps: Equal parts of the curve; ``"auto"`` for as few evaluations as ``tolerance`` allows.
        order: Most or least relevant first.
        ties: See `ranks`.
        grid: (rows, columns) of cells that are changed together; None for pixels.
        seed: Of random ties and noise baselines.
        tolerance: Greatest error bound of a curve's area, for ``num_steps="auto"`` only; 0.01 if None.
        pooling: Whether the ``"mean"`` or the ``"sum"`` of a cell's heat ranks it.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    direction: Literal["deletion", "insertion"] = "deletion"
    baseline: AnyBaseline = 0.0
    num_steps: Steps = 32
    order: Order = "morf"
    ties: Ties = "random"
    grid: tuple[int, int] | None = None
    seed: int = 0
    tolerance: float | None = None
    pooling: Pooling = "mean"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.direction, ("deletion", "insertion"), "direction")
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))
        self._check_steps()
        check_choice(self.pooling, POOLINGS, "pooling")
        check_choice(self.order, ORDERS, "order")
        check_choice(self.ties, TIES, "ties")
        check_count(self.seed, "seed", least=-math.inf)
        if self.grid is not None:
            object.__setattr__(self, "grid", check_grid(self.grid))

    def _check_steps(self) -> None:
        if not isinstance(self.num_steps, str):
            check_count(self.num_steps, "num_steps")
            if self.tolerance is not None:
                raise ValueError(
                    f"Expected `tolerance` to be None for num_steps={self.num_steps}, because only 'auto' has one, "
                    f"but got {self.tolerance}."
                )
            return
        check_choice(self.num_steps, ("auto",), "num_steps")
        if self.tolerance is None:
            object.__setattr__(self, "tolerance", _TOLERANCE)
        check_at_least(self._tolerance, 0, "tolerance", strict=True)

    @property
    def _tolerance(self) -> float:
        return _TOLERANCE if self.tolerance is None else self.tolerance

    @property
    def ranking(self) -> Ranking:
        """The order in which pixels are changed; curves in both directions share it."""
        return Ranking(self.ties, self.order, self.grid, self.seed, self.pooling)

    @property
    def reads(self) -> tuple[Evidence[Tensor], ...]:
        """The ranking."""
        return (self.ranking,)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return ``num_steps + 1``, the unchanged image included; the most that it can be for ``"auto"``, 225."""
        return self._parts + 1

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, num_steps + 1); (N, 225) for ``"auto"``."""
        if self.num_steps == "auto":
            return self.refine(case).curve
        images = MaskedImages(self, case, self._parts)
        intact = self._intact(case)[:, None]
        steps = torch.arange(self._parts) + (self.direction == "deletion")
        scores = images.scores(torch.arange(len(case)).repeat_interleave(len(steps)), steps.repeat(len(case)))
        scores = scores.view(len(case), len(steps))
        return torch.cat([intact, scores] if self.direction == "deletion" else [scores, intact], 1)

    def refine(self, case: Case) -> Refinement:
        """Return the curve of ``num_steps="auto"`` with its evaluated points and the error bound of its area.

        The bound is about the area of the 224-part curve and is at most ``tolerance``: three standard deviations if
        every change between two evaluated points happens anywhere between them; see `refinement.error_bound`.
        """
        images = MaskedImages(self, case, FINEST)
        known_step = 0 if self.direction == "deletion" else FINEST
        return refined(images.scores, self._intact(case), known_step, self._tolerance, images.num_changed)

    @property
    def description(self) -> str:
        """What happens along the curve."""
        return f"{'pixels' if self.grid is None else 'cells'} {_DONE[self.direction]}"

    def share_changed(self, case: Case) -> Tensor:
        """Return k / num_steps, rounded to whole pixels (cells), for every image, float32 (N, num_steps + 1)."""
        return MaskedImages(self, case, self._parts).share_changed.expand(len(case), -1)

    def changed_images(self, case: Case, image_index: int, points: Sequence[int]) -> Tensor:
        """Return one image at some points of its curve, (n, C, H, W)."""
        step = torch.tensor(points)
        return MaskedImages(self, case, self._parts).at(torch.full_like(step, image_index), step)

    @property
    def _parts(self) -> int:
        return FINEST if isinstance(self.num_steps, str) else self.num_steps

    def _intact(self, case: Case) -> Tensor:
        return case.classifier.select(case.logits, case.target, "probability")


def area(curve: Tensor) -> Tensor:
    """Return the area under each row of a curve (N, K) with equal steps over [0, 1], by the trapezoid rule, (N,).

    Example:
        >>> area(torch.tensor([[0.0, 1.0, 1.0]]))
        tensor([0.7500])
    """
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)


class MaskedImages:
    """Every image of a case at every step of a curve; none exists before it is asked for.

    Args:
        curve: Its settings.
        case: Images and heatmaps.
        num_steps: Equal parts of the curve.

    Attributes:
        num_changed: How many pixels (cells) are changed at each step, int32 (num_steps + 1,).
        share_changed: The same as a share of all, float32 in [0, 1].
    """

    def __init__(self, curve: MaskingCurve, case: Case, num_steps: int) -> None:
        self._case = case
        images = case.images.detach()
        replaced = baseline_images(images, curve.baseline, case.keys, seed=curve.seed).expand_as(images)
        self._ends = (images, replaced) if curve.direction == "deletion" else (replaced, images)
        self._ranks: Tensor = case[curve.ranking]
        num_segments = math.prod(curve.grid or images.shape[2:])
        steps = torch.arange(num_steps + 1, dtype=torch.float64, device=images.device)
        num_changed = (steps * num_segments / num_steps).round()
        self.share_changed = (num_changed / num_segments).float()
        self.num_changed = num_changed.int()

    def scores(self, image_index: Tensor, step: Tensor) -> Tensor:
        """Return the probability of the target class, float32 (P,), of each of P pairs of an image and a step.

        Args:
            image_index: int64 (P,) on the CPU, ascending.
            step: int64 (P,) on the CPU, in [0, num_steps].
        """

        def build(chunk: slice) -> Tensor:
            return self.at(image_index[chunk], step[chunk])

        def read(logits: Tensor, chunk: slice) -> Tensor:  # that the model has the target's class was checked once
            target = self._case.target[image_index[chunk], None]
            return self._case.classifier.probabilities(logits).gather(1, target)[:, 0]

        return self._case.classifier.evaluate(len(image_index), build, read)

    def at(self, image_index: Tensor, step: Tensor) -> Tensor:
        """Return the images (P, C, H, W) of P pairs of an image and a step; see `scores`."""
        first, last = self._ends
        images = first.new_empty(len(image_index), *first.shape[1:])
        for index, rows in _runs(image_index):
            is_changed = (self._ranks[index] < self.num_changed[step[rows], None, None, None]).to(images.dtype)
            torch.lerp(first[index], last[index], is_changed, out=images[rows])  # 0 or 1: exact, faster than `where`
        return images


def _runs(image_index: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield each image of an ascending list, and the rows that it takes there."""
    start = 0
    for index, run in groupby(image_index.tolist()):
        stop = start + len(list(run))
        yield index, slice(start, stop)
        start = stop
