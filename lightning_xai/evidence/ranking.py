"""The order of pixels or regions by relevance, with a stated rule for ties."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._randomness import random_bits

Ties: TypeAlias = Literal["random", "first", "last"]
TIES = ("random", "first", "last")
Order: TypeAlias = Literal["morf", "lerf"]
ORDERS = ("morf", "lerf")


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
    bits = relevance.contiguous().view(torch.int32).long()
    sortable = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    sequence = _descending((sortable << 31) | breakers)
    return torch.empty_like(sequence).scatter_(1, sequence, index.expand_as(sequence))


def _descending(rows: Tensor) -> Tensor:
    """Return the indices (N, P) that sort each row of integers, greatest first, equal ones by their index."""
    reversed_rows = ~rows
    if rows.device.type != "cpu":
        return reversed_rows.argsort(dim=1, stable=True)
    # On a CPU, torch sorts a single row of integers by radix, ascending only: four times as fast as a whole batch.
    return torch.stack([row.argsort(stable=True) for row in reversed_rows])
