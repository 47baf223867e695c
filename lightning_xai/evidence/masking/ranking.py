"""The order of pixels or cells by relevance, with a stated rule for ties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._randomness import random_bits
from lightning_xai._segments import grid_labels, segment_means
from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

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
