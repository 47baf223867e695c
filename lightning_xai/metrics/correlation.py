"""Correlations between rows; undefined for those that are constant."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.heat import is_degenerate


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of each pair of rows (N, ...), (N,) in [-1, 1]; NaN where a row is degenerate.

    Example:
        >>> pearson(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[3.0, 5.0, 9.0]]))
        tensor([1.])
    """
    undefined = is_degenerate(first) | is_degenerate(second)
    a, b = (rows.flatten(1) - rows.flatten(1).mean(1, keepdim=True) for rows in (first, second))
    a, b = (rows / rows.abs().amax(1, keepdim=True) for rows in (a, b))  # or the squares of small values vanish
    norms = (a.square().sum(1) * b.square().sum(1)).sqrt()  # `sum` is pairwise; `vector_norm` was off by 4e-5
    return torch.where(undefined, torch.nan, ((a * b).sum(1) / norms).clamp(-1.0, 1.0))


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's correlation of each pair of rows (N, ...), with average ranks; NaN where a row is degenerate.

    Example:
        >>> spearman(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[3.0, 7.0, 5.0]]))
        tensor([0.5000])
    """
    return pearson(comparable_ranks(first), comparable_ranks(second))


def comparable_ranks(rows: Tensor) -> Tensor:
    """Return the average ranks (N, P) of rows (N, ...), 0 in a degenerate one: `pearson` of them is `spearman`.

    Example:
        >>> comparable_ranks(torch.tensor([[5.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).tolist()
        [[3.0, 1.5, 1.5], [0.0, 0.0, 0.0]]
    """
    return torch.where(is_degenerate(rows)[:, None], 0.0, average_ranks(rows))


def average_ranks(rows: Tensor) -> Tensor:
    """Return ranks from 1 within each row (N, ...), equal values sharing their mean rank; float32 (N, P).

    Example:
        >>> average_ranks(torch.tensor([[5.0, 0.0, 0.0]]))
        tensor([[3.0000, 1.5000, 1.5000]])
    """
    values, order = rows.flatten(1).sort(dim=1)
    place = torch.arange(values.shape[1], dtype=torch.int32, device=rows.device).expand_as(order)
    begins = torch.ones_like(values, dtype=torch.bool)  # of a run of equal values
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    first = torch.where(begins, place, 0).cummax(1).values
    last = torch.where(begins.roll(-1, 1), place, values.shape[1]).flip(1).cummin(1).values.flip(1)
    ranks = torch.empty_like(values, dtype=torch.float32)
    return ranks.scatter_(1, order, (first + last + 2).float() / 2.0)
