"""What metrics make of a heatmap before they use it: its scale, its order, its percentiles, what is kept of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._randomness import random_bits
from lightning_xai._segments import grid_labels, segment_means
from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

_FLAT = 1e-8
LARGEST_KEPT = 56
"""Side of the largest heatmap that is kept between epochs."""
_MADE_COMPACT_TOGETHER = 8
_MOST_QUANTILE_VALUES = 16_000_000  # torch refuses more at once


def is_degenerate(rows: Tensor) -> Tensor:
    """Return which rows (N, ...) are constant, ``max − min ≤ 1e-8 · max|m|``, or not finite; boolean (N,)."""
    flat = rows.flatten(1)
    spread = flat.amax(1) - flat.amin(1)
    return ~(spread > _FLAT * flat.abs().amax(1)) | ~flat.isfinite().all(1)


def normalized(heatmaps: Tensor) -> Tensor:
    """Return heatmaps (N, H, W) min-max normalised to [0, 1], each by itself; NaN where one is degenerate."""
    flat = heatmaps.flatten(1).float()
    low, high = flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]
    undefined = is_degenerate(heatmaps)[:, None, None]
    return torch.where(undefined, torch.nan, (heatmaps.float() - low) / torch.where(undefined, 1.0, high - low))


def positive_percentile(heatmaps: Tensor, percentile: float) -> Tensor:
    """Return the percentile (linear interpolation) of each heatmap's positive values, (N,); infinite without any."""
    heat = heatmaps.flatten(1).double()
    positive = torch.where(heat > 0, heat, torch.nan)
    chunks = torch.split(positive, max(_MOST_QUANTILE_VALUES // heat.shape[1], 1))
    percentiles = torch.cat([chunk.nanquantile(percentile / 100.0, dim=1) for chunk in chunks])
    return percentiles.nan_to_num(torch.inf).float()


def compact(heatmaps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Return heatmaps (N, H, W) as they are kept between epochs: averaged to at most 56×56, peak 1, float16.

    Args:
        heatmaps: Floating point (N, H, W).
        size: Height and width to return; each side at most 56 if None.
    """
    return compact_with_peaks(heatmaps, size)[0]


def compact_with_peaks(heatmaps: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
    """Return heatmaps as `compact` does, and what their peaks were before: float32 (N,), 0 where all values are 0."""
    if size is None:
        size = (min(heatmaps.shape[1], LARGEST_KEPT), min(heatmaps.shape[2], LARGEST_KEPT))
    kept = heatmaps.new_empty(len(heatmaps), *size, dtype=torch.float16)
    peaks = heatmaps.new_empty(len(heatmaps), dtype=torch.float32)
    parts = (torch.split(tensor, _MADE_COMPACT_TOGETHER) for tensor in (heatmaps, kept, peaks))
    for some, place, peak in zip(*parts, strict=True):
        pooled = F.adaptive_avg_pool2d(some.float(), size)
        peak.copy_(pooled.flatten(1).abs().amax(1))
        highest = peak[:, None, None]
        place.copy_(torch.where(highest > 0, pooled / highest, pooled))
    return kept, peaks


Ties: TypeAlias = Literal["random", "first", "last"]
TIES = ("random", "first", "last")
Order: TypeAlias = Literal["morf", "lerf"]
ORDERS = ("morf", "lerf")
Pooling: TypeAlias = Literal["mean", "sum"]
POOLINGS = ("mean", "sum")
_RANKED_TOGETHER = 8  # heatmaps: sorting needs seven times the memory of their ranks


def ranks(relevance: Tensor, keys: Tensor, *, ties: Ties = "random", order: Order = "morf", seed: int = 0) -> Tensor:
    """Return each element's position in the order of removal.

    Args:
        relevance: float32 (N, P).
        keys: Content keys (N,) of the images; random ties belong to them.
        ties: ``"random"``, ``"first"`` (lowest index first) or ``"last"`` (highest index first).
        order: Most (``"morf"``) or least (``"lerf"``) relevant first.
        seed: Of random ties.

    Returns:
        int64 (N, P), a permutation of 0..P-1 per row; 0 is removed first.

    Example:
        >>> ranks(torch.tensor([[0.1, 0.9, 0.1]]), torch.zeros(1, dtype=torch.long), ties="first")
        tensor([[1, 0, 2]])
    """
    count = relevance.shape[1]
    index = torch.arange(count, device=relevance.device)
    if ties == "random":
        breakers = random_bits(keys, (count,), seed=seed, purpose="ties")
    else:
        breakers = (count - 1 - index if ties == "first" else index).expand(len(relevance), -1)
    relevance = (-relevance if order == "lerf" else relevance).float() + 0.0  # -0.0 becomes 0.0
    bits = relevance.contiguous().view(torch.int32)
    sortable = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as integers, in the order of the floating-point numbers
    sequence = _ascending((sortable.long() << 31).bitwise_or_(breakers).bitwise_not_())
    return torch.empty_like(sequence).scatter_(1, sequence, index.expand_as(sequence))


def _ascending(rows: Tensor) -> Tensor:
    """Return the indices (N, P) that sort each row of integers, least first, equal ones by their index."""
    if rows.device.type != "cpu":
        return rows.argsort(dim=1, stable=True)
    # On a CPU, torch sorts a single row of integers by radix, but only ascending: four times as fast as a batch.
    return torch.stack([row.argsort(stable=True) for row in rows])


@dataclass(frozen=True)
class Ranking(Evidence[Tensor]):
    """Rank of each pixel (its cell's rank), int32 (N, 1, H, W); curves in both directions share the sorting.

    Args:
        ties: See `ranks`.
        order: See `ranks`.
        grid: (rows, columns) of cells that are ranked by their heat; None for pixels.
        seed: Of random ties.
        pooling: Whether the mean or the sum of a cell's heat ranks it; they differ where cells differ in size.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"images", "heatmaps"})

    ties: Ties = "random"
    order: Order = "morf"
    grid: tuple[int, int] | None = None
    seed: int = 0
    pooling: Pooling = "mean"

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 0."""
        return 0

    def collect(self, case: Case) -> Tensor:
        """Return int32 (N, 1, H, W)."""
        heatmaps = case.heatmaps
        ranked = heatmaps.new_empty(len(heatmaps), 1, *heatmaps.shape[1:], dtype=torch.int32)
        parts = (torch.split(tensor, _RANKED_TOGETHER) for tensor in (heatmaps, case.keys, ranked))
        for some, keys, place in zip(*parts, strict=True):
            place.copy_(self._of(some, keys))
        return ranked

    def _of(self, heatmaps: Tensor, keys: Tensor) -> Tensor:
        """Return the rank of each pixel, int64 (n, 1, H, W)."""
        size = (heatmaps.shape[1], heatmaps.shape[2])
        relevance, labels = heatmaps.flatten(1), None
        if self.grid is not None:
            labels = grid_labels(size, self.grid, heatmaps.device)
            num_cells = math.prod(self.grid)
            relevance = segment_means(heatmaps, labels, num_cells)
            if self.pooling == "sum":
                relevance = relevance * labels.flatten().bincount(minlength=num_cells)
        order = ranks(relevance, keys, ties=self.ties, order=self.order, seed=self.seed)
        pixels = order if labels is None else order[:, labels.flatten()]
        return pixels.view(len(heatmaps), 1, *size)
