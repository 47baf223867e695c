"""How far a mean over a probe is off when every image's value is, judged from the images at hand."""

from __future__ import annotations

import torch
from torch import Tensor

PROBE = 32
"""Images of a probe by default."""


def of_a_mean(error: Tensor, group: Tensor | None = None) -> Tensor:
    """Return the root mean square error of a mean over `PROBE` images drawn like these, (...).

    The mean over few images is off by chance too, so its square alone would count the spread twice: what the spread
    explains of it is subtracted, down to 0, before the spread of a probe is added.

    Args:
        error: Of each image's value, (N, ...).
        group: Number of what each image was cut from, or draw of, int64 (N,): images of one group may resemble each
            other, so that the groups' sums tell how far the mean is off by chance. Every image by itself if None.

    Example:
        >>> of_a_mean(torch.tensor([0.1, -0.1, 0.1, -0.1]))  # off by ±.1 each, by nothing on average
        tensor(0.0204)
    """
    mean, spread = error.mean(0), error.var(0)
    bias = (mean.square() - _by_chance(error - mean, group)).clamp(min=0)
    return (bias + spread / PROBE).sqrt()


def _by_chance(residual: Tensor, group: Tensor | None) -> Tensor:
    """Return the squared standard error of the mean that was subtracted, by groups (cluster-robust), (...)."""
    group = torch.arange(len(residual), device=residual.device) if group is None else group
    _, place = group.unique(return_inverse=True)
    count = int(place.max()) + 1
    sums = residual.new_zeros(count, *residual.shape[1:]).index_add(0, place, residual)
    return sums.square().sum(0) / len(residual) ** 2 * count / (count - 1)
