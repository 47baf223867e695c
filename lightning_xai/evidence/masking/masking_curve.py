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
from lightning_xai.evidence.heat import ORDERS, POOLINGS, TIES, Order, Pooling, Ranking, Ties
from lightning_xai.evidence.masking.masking import Masking
from lightning_xai.evidence.masking.quadrature import NUM_NODES, radau
from lightning_xai.evidence.masking.refinement import FINEST, Refinement, refined

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Steps: TypeAlias = int | Literal["radau", "auto"]

_TOLERANCE = 0.01
_DONE = {"deletion": "removed", "insertion": "inserted"}


@dataclass(frozen=True)
class MaskingCurve(Masking):
    """Probability of the target class at some points of the way from an image to a baseline, or back, (N, P).

    ``"deletion"`` goes from the image to the baseline, ``"insertion"`` from the baseline to the image. The unchanged
    image is evaluated once per case. Chunks run across images and points; no more than a chunk of changed images
    exists at a time. `area` is what insertion and deletion are about. Where the points are:

    - ``num_steps="radau"``: the unchanged image and ten nodes of Gauss–Radau quadrature, which lie close together near
      both ends, P = 11; see `radau`. An area costs ten evaluations, and its error is small beside what the choice of
      32 images does to a mean (measured in ``benchmarks/README.md``).
    - a whole number, as published: equal parts, ``round(k · N / num_steps)`` of the N pixels (or cells) changed at
      point k, P = ``num_steps + 1``; as many evaluations, and an area by the trapezoid rule.
    - ``"auto"``: 224 equal parts, P = 225, of which eight are evaluated and then more where the curve changes most,
      until its area is known to ``tolerance``; see `refine` for what exactly is bounded. Straight in between.

    Args:
        direction: ``"deletion"`` or ``"insertion"``.
        baseline: See `baseline_images`.
        num_steps: Where the curve is evaluated, see above.
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
    num_steps: Steps = "radau"
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
        if isinstance(self.num_steps, str):
            check_choice(self.num_steps, ("radau", "auto"), "num_steps")
        else:
            check_count(self.num_steps, "num_steps")
        if self.num_steps == "auto":
            if self.tolerance is None:
                object.__setattr__(self, "tolerance", _TOLERANCE)
            check_at_least(self._tolerance, 0, "tolerance", strict=True)
        elif self.tolerance is not None:
            raise ValueError(
                f"Expected `tolerance` to be None for num_steps={self.num_steps!r}, because only 'auto' has one, but "
                f"got {self.tolerance}."
            )

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
        """Return the most points that are evaluated, the unchanged image included: 11, ``num_steps + 1`` or 225."""
        return 1 + (NUM_NODES if self.num_steps == "radau" else self._parts)

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, P), from the first pixel changed to the last."""
        if self.num_steps == "auto":
            return self.refine(case).curve
        images = MaskedImages(self, case)
        intact, starts_intact = self._intact(case)[:, None], self.direction == "deletion"
        points = torch.arange(len(images.num_changed) - 1) + starts_intact
        scores = images.scores(torch.arange(len(case)).repeat_interleave(len(points)), points.repeat(len(case)))
        scores = scores.view(len(case), len(points))
        return torch.cat([intact, scores] if starts_intact else [scores, intact], 1)

    def area(self, case: Case) -> Tensor:
        """Return the area under the curve over [0, 1], float32 (N,); reads the curve once."""
        curve = case[self]
        if self.num_steps != "radau":
            return area(curve)
        return (curve * torch.tensor(self._quadrature(case)[1], device=curve.device)).sum(1)

    def refine(self, case: Case) -> Refinement:
        """Return the curve of ``num_steps="auto"`` with its evaluated points and the error bound of its area.

        The bound is about the area of the 224-part curve and is at most ``tolerance``: three standard deviations if
        every change between two evaluated points happens anywhere between them. 0.1 to 5 % of the curves of trained
        networks lie beyond it; see `refinement.error_bound`.
        """
        images = MaskedImages(self, case)
        known_step = 0 if self.direction == "deletion" else FINEST
        return refined(images.scores, self._intact(case), known_step, self._tolerance, images.num_changed)

    @property
    def description(self) -> str:
        """What happens along the curve."""
        return f"{'pixels' if self.grid is None else 'cells'} {_DONE[self.direction]}"

    def share_changed(self, case: Case) -> Tensor:
        """Return the share of the pixels (cells) that is changed at each point, for every image, float32 (N, P)."""
        shares = self.num_changed(case).double() / self.num_segments(case)
        return shares.float().to(case.images.device).expand(len(case), -1)

    def changed_images(self, case: Case, image_index: int, points: Sequence[int]) -> Tensor:
        """Return one image at some points of its curve, (n, C, H, W)."""
        point = torch.tensor(points)
        return MaskedImages(self, case).at(torch.full_like(point, image_index), point)

    def num_changed(self, case: Case) -> Tensor:
        """Return how many pixels (cells) are changed at each point, int32 (P,), ascending."""
        if self.num_steps == "radau":
            return torch.tensor(self._quadrature(case)[0], dtype=torch.int32)
        steps = torch.arange(self._parts + 1, dtype=torch.float64)
        return (steps * self.num_segments(case) / self._parts).round().int()

    def num_segments(self, case: Case) -> int:
        """Return how many pixels (cells) an image has."""
        return math.prod(self.grid or case.images.shape[2:])

    def _quadrature(self, case: Case) -> tuple[list[int], list[float]]:
        """Return numbers of changed pixels, ascending, and weights; the rule begins at the unchanged image."""
        num_segments = self.num_segments(case)
        rule = radau(num_segments)
        if self.direction == "deletion":
            return list(rule.num_changed), list(rule.weights)
        return [num_segments - removed for removed in reversed(rule.num_changed)], list(reversed(rule.weights))

    @property
    def _parts(self) -> int:
        return FINEST if isinstance(self.num_steps, str) else self.num_steps

    def _intact(self, case: Case) -> Tensor:
        return case.classifier.select(case.lowered_logits, case.target, "probability")


def area(curve: Tensor) -> Tensor:
    """Return the area under each row of a curve (N, K) with equal steps over [0, 1], by the trapezoid rule, (N,).

    Example:
        >>> area(torch.tensor([[0.0, 1.0, 1.0]]))
        tensor([0.7500])
    """
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)


class MaskedImages:
    """Every image of a case at every point of a curve; none exists before it is asked for.

    Args:
        curve: Its settings.
        case: Images and heatmaps.

    Attributes:
        num_changed: How many pixels (cells) are changed at each point, int32 (P,).
    """

    def __init__(self, curve: MaskingCurve, case: Case) -> None:
        self._case = case
        images = case.images.detach()
        replaced = baseline_images(images, curve.baseline, case.keys, seed=curve.seed).expand_as(images)
        self._ends = (images, replaced) if curve.direction == "deletion" else (replaced, images)
        self._ranks: Tensor = case[curve.ranking]
        self.num_changed = curve.num_changed(case).to(images.device)

    def scores(self, image_index: Tensor, point: Tensor) -> Tensor:
        """Return the probability of the target class, float32 (n,), of each of n pairs of an image and a point.

        Args:
            image_index: int64 (n,) on the CPU, ascending.
            point: int64 (n,) on the CPU, in [0, P).
        """

        def build(chunk: slice) -> Tensor:
            return self.at(image_index[chunk], point[chunk])

        def read(logits: Tensor, chunk: slice) -> Tensor:  # that the model has the target's class was checked once
            target = self._case.target[image_index[chunk], None]
            return self._case.classifier.probabilities(logits).gather(1, target)[:, 0]

        classifier = self._case.classifier.lowered()
        return classifier.evaluate(len(image_index), build, read, owners=lambda chunk: image_index[chunk])

    def at(self, image_index: Tensor, point: Tensor) -> Tensor:
        """Return the images (n, C, H, W) of n pairs of an image and a point; see `scores`."""
        first, last = self._ends
        images = first.new_empty(len(image_index), *first.shape[1:])
        for index, rows in _runs(image_index):
            is_changed = (self._ranks[index] < self.num_changed[point[rows], None, None, None]).to(images.dtype)
            torch.lerp(first[index], last[index], is_changed, out=images[rows])  # 0 or 1: exact, faster than `where`
        return images


def _runs(image_index: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield each image of an ascending list, and the rows that it takes there."""
    start = 0
    for index, run in groupby(image_index.tolist()):
        stop = start + len(list(run))
        yield index, slice(start, stop)
        start = stop
