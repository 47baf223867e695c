"""A curve that is evaluated where it changes most, until the error of its area is small enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FINEST = 224
"""Equal parts that a refined curve stops at; those of the published insertion and deletion."""
COARSEST = 28
"""Equal parts that it begins with."""


@dataclass(frozen=True)
class Refinement:
    """Curves of N images over ``FINEST`` equal parts, of which some points were evaluated.

    Attributes:
        curve: float32 (N, FINEST + 1), straight lines between evaluated points.
        evaluated: Boolean (N, FINEST + 1).
        error_bound: Half the sum, over the intervals between evaluated points, of width times change, float32 (N,):
            the most by which the area can differ from that of all points if the curve rises or falls, but not both,
            between two evaluated ones.
    """

    curve: Tensor
    evaluated: Tensor
    error_bound: Tensor


def refined(scores: Callable[[Tensor, Tensor], Tensor], known: Tensor, known_step: int, tolerance: float) -> Refinement:
    """Return curves whose error bound is at most ``tolerance``.

    Starts with ``COARSEST`` equal parts. Then, until the bound is kept, of each image the parts that contribute most to
    it are halved, as many as the tolerance demands; a part of width 1 / ``FINEST`` contributes nothing. All images go
    through the model together in every round.

    Args:
        scores: From image indices (P,), ascending, and steps (P,) on the CPU to scores (P,).
        known: Score of each image at ``known_step``, float32 (N,); it is not evaluated again.
        known_step: 0 or ``FINEST``.
        tolerance: Greatest error bound, > 0.
    """
    device, known = known.device, known.cpu()  # which points come next is decided by loops over small tensors
    curve = known.new_zeros(len(known), FINEST + 1)
    evaluated = torch.zeros_like(curve, dtype=torch.bool)
    curve[:, known_step], evaluated[:, known_step] = known, True
    wanted = torch.zeros_like(evaluated)
    wanted[:, :: FINEST // COARSEST] = True
    wanted[:, known_step] = False
    while bool(wanted.any()):
        image, step = wanted.nonzero(as_tuple=True)
        curve[image, step] = scores(image, step).cpu()
        evaluated |= wanted
        wanted = torch.stack([_halved(*row, tolerance) for row in zip(curve, evaluated, strict=True)])
    bounds = torch.stack([_contributions(*row)[1].sum() for row in zip(curve, evaluated, strict=True)])
    lines = torch.stack([_joined(*row) for row in zip(curve, evaluated, strict=True)])
    return Refinement(lines.to(device), evaluated.to(device), bounds.to(device))


def _contributions(curve: Tensor, evaluated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the evaluated points (P,), and what each interval between two of them adds to the bound, (P - 1,)."""
    points = evaluated.nonzero()[:, 0]
    width = points.diff()
    change = curve[points].diff().abs()
    return points, torch.where(width > 1, 0.5 * width / FINEST * change, 0.0)


def _halved(curve: Tensor, evaluated: Tensor, tolerance: float) -> Tensor:
    """Return the middles of the fewest intervals whose halving keeps the bound, boolean like ``evaluated``."""
    points, added = _contributions(curve, evaluated)
    largest = added.argsort(descending=True, stable=True)
    before = added[largest].cumsum(0) - added[largest]
    saved = 0.5 * before  # halving a part on which the curve only rises or falls halves what it adds
    chosen = largest[added.sum() - saved > tolerance]
    chosen = chosen[added[chosen] > 0]
    middles = torch.zeros_like(evaluated)
    middles[(points[chosen] + points[chosen + 1]) // 2] = True
    return middles


def _joined(curve: Tensor, evaluated: Tensor) -> Tensor:
    """Return a curve with straight lines between evaluated points."""
    points = evaluated.nonzero()[:, 0]
    every = torch.arange(len(curve), device=curve.device)
    right = torch.searchsorted(points, every).clamp(min=1)
    low, high = points[right - 1], points[right]
    share = (every - low) / (high - low)
    return torch.where(evaluated, curve, torch.lerp(curve[low], curve[high], share.to(curve.dtype)))
