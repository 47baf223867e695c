"""How sure a mean over images is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def standard_error(rows: Tensor, aggregate: Any = None) -> Tensor:
    """Return the standard error of the mean over defined rows, or the jackknife's for another ``aggregate``.

    Args:
        rows: (N,), NaN where undefined; or (N, D).
        aggregate: A function of rows; the mean if None.

    Returns:
        Scalar; NaN for fewer than two defined rows.

    Example:
        >>> standard_error(torch.tensor([1.0, 3.0, float("nan")]))
        tensor(1.)
    """
    defined = rows[~rows.isnan()] if rows.ndim == 1 else rows[~rows.isnan().any(1)]
    count = len(defined)
    if count < 2:
        return torch.tensor(torch.nan, dtype=rows.dtype, device=rows.device)
    if aggregate is None or rows.ndim == 1:
        return defined.std() / math.sqrt(count)
    index = torch.arange(count, device=rows.device)
    left_out: Tensor = torch.stack([aggregate(defined[index != i]) for i in range(count)])
    return ((count - 1) / count * (left_out - left_out.mean()).square().sum()).sqrt()
