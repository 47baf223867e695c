"""A curve that is evaluated where it changes most, until the error of its area is small enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FINEST = 224
"""Equal parts that a refined curve stops at; those of the published insertion and deletion."""
COARSEST = 8
"""Equal parts that it begins with."""


@dataclass(frozen=True)
class Refinement:
    """Curves of N images over ``FINEST`` equal parts, of which some points were evaluated.

    Attributes:
        curve: float32 (N, FINEST + 1), straight lines between evaluated points.
        evaluated: Which points are known: an image with as many changed pixels was evaluated; boolean (N, FINEST + 1).
        error_bound: How far the area can be from that of all points, float32 (N,); see `error_bound`.
    """

    curve: Tensor
    evaluated: Tensor
    error_bound: Tensor


def refined(
    scores: Callable[[Tensor, Tensor], Tensor], known: Tensor, known_step: int, tolerance: float, num_changed: Tensor
) -> Refinement:
    """Return curves whose error bound is at most ``tolerance``.

    Starts with ``COARSEST`` equal parts. Then, until the bound is kept, of each image the parts with the greatest width
    times change are halved, as many as the tolerance demands. All images go through the model together in every round.
    Steps that change equally many pixels are one image, evaluated once.

    Args:
        scores: From image indices (P,), ascending, and steps (P,) on the CPU to scores (P,).
        known: Score of each image at ``known_step``, float32 (N,); it is not evaluated again.
        known_step: 0 or ``FINEST``.
        tolerance: Greatest error bound, > 0.
        num_changed: How many pixels are changed at each step, (FINEST + 1,), ascending.
    """
    device, known = known.device, known.cpu()  # which points come next is decided by loops over small tensors
    differs = torch.nn.functional.pad(num_changed.cpu().diff() > 0, (1, 0), value=True)
    first, place = differs.nonzero()[:, 0], differs.cumsum(0) - 1
    values = known.new_zeros(len(known), len(first))
    seen = torch.zeros_like(values, dtype=torch.bool)
    values[:, place[known_step]], seen[:, place[known_step]] = known, True
    middles = torch.zeros(len(known), FINEST + 1, dtype=torch.bool)
    middles[:, :: FINEST // COARSEST] = True
    while bool(middles.any()):
        wanted = torch.zeros_like(seen)
        image, step = middles.nonzero(as_tuple=True)
        wanted[image, place[step]] = True
        image, column = (wanted & ~seen).nonzero(as_tuple=True)
        if len(image):
            values[image, column] = scores(image, first[column]).cpu()
        seen |= wanted
        rows = list(zip(values[:, place], seen[:, place], strict=True))
        middles = torch.stack([_halved(*row, tolerance) for row in rows])
    bounds = torch.stack([error_bound(_areas(*row)[1]) for row in rows])
    lines = torch.stack([_joined(*row) for row in rows])
    return Refinement(lines.to(device), seen[:, place].to(device), bounds.to(device))


def error_bound(areas: Tensor) -> Tensor:
    """Return how far the area under a curve can be from that of all its points, (...).

    Where a curve changes by d over a part of width w and only rises or falls there, its area in that part is within
    ``w·d / 2`` of the trapezoid's: with certainty within the sum of these halves. If each change happens at once and
    anywhere in its part, independently, the error has the variance ``Σ (w·d)² / 12``. The bound is three such
    standard deviations, or the sum if that is less.

    It is an estimate, no guarantee: what a curve does between two points of equal score is not seen. Of the areas of
    three trained networks (``python -m benchmarks --only curve_error``, 1,024 curves each, tolerances from 0.01 to
    0.1), 0.1 to 5 % lay beyond their bound: most where a network is so sure that its curves are steps.

    Args:
        areas: ``w·d`` of each part, (..., P).

    Example:
        >>> error_bound(torch.tensor([0.02]))
        tensor(0.0100)
    """
    return torch.minimum(areas.sum(-1) / 2, 3.0 * (areas.square().sum(-1) / 12).sqrt())


def _areas(curve: Tensor, evaluated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the evaluated points (P,), and width times change of each part, (P - 1,); 0 for the finest."""
    points = evaluated.nonzero()[:, 0]
    width = points.diff()
    return points, torch.where(width > 1, width / FINEST * curve[points].diff().abs(), 0.0)


def _halved(curve: Tensor, evaluated: Tensor, tolerance: float) -> Tensor:
    """Return the middles of the fewest parts whose halving keeps the bound, boolean like ``evaluated``."""
    points, areas = _areas(curve, evaluated)
    areas, largest = areas.sort(descending=True, stable=True)
    # row k has the k largest parts halved: where the curve only rises or falls, the halves keep half of it at most
    after = torch.where(torch.ones(len(areas), len(areas)).tril(-1) > 0, areas / 2, areas)
    needed = largest[(error_bound(after) > tolerance) & (areas > 0)]
    middles = torch.zeros_like(evaluated)
    middles[(points[needed] + points[needed + 1]) // 2] = True
    return middles


def _joined(curve: Tensor, evaluated: Tensor) -> Tensor:
    """Return a curve with straight lines between evaluated points."""
    points = evaluated.nonzero()[:, 0]
    every = torch.arange(len(curve), device=curve.device)
    right = torch.searchsorted(points, every).clamp(min=1)
    low, high = points[right - 1], points[right]
    share = (every - low) / (high - low)
    return torch.where(evaluated, curve, torch.lerp(curve[low], curve[high], share.to(curve.dtype)))
