"""A number with its standard error: the only place where values per image become one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Aggregate: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Estimate:
    """What some images say about a number.

    Attributes:
        value: NaN if it is defined for no image.
        error: Standard error over images; NaN where there is none, as for fewer than two images.
        undefined: Number of images for which it is undefined, which are left out.
    """

    value: float
    error: float = math.nan
    undefined: int = 0

    def __str__(self) -> str:
        """Return value and error, such as ``0.412 ± 0.031``."""
        return f"{self.value:.3f}" if math.isnan(self.error) else f"{self.value:.3f} ± {self.error:.3f}"


def standard_error(rows: Tensor, aggregate: Aggregate | None = None) -> Tensor:
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
    defined = rows[~undefined_rows(rows)]
    count = len(defined)
    if count < 2:
        return torch.tensor(torch.nan, dtype=rows.dtype, device=rows.device)
    if aggregate is None:
        return defined.std() / math.sqrt(count)
    index = torch.arange(count, device=rows.device)
    return jackknife_error(torch.stack([aggregate(defined[index != i]) for i in range(count)]))


def jackknife_error(left_out: Tensor) -> Tensor:
    """Return the standard error of a value, if ``left_out`` (N,) is what it is without each image; NaN if N < 2."""
    count = len(left_out)
    if count < 2:
        return left_out.new_tensor(torch.nan)
    return ((count - 1) / count * (left_out - left_out.mean()).square().sum()).sqrt()


def undefined_rows(rows: Tensor) -> Tensor:
    """Return which of the rows (N,) or (N, D) lack a value, boolean (N,)."""
    return rows.isnan() if rows.ndim == 1 else rows.isnan().any(1)
