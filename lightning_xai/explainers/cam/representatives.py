"""A few masks that stand for many."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_ROUNDS = 10


def representatives(masks: Tensor, weights: Tensor, count: int) -> Tensor:
    """Return which of at most ``count`` of the masks stands for each: the one nearest to it.

    Lloyd's k-means, weighed, from masks that are far apart (the largest first, then always the one farthest from those
    taken); the mask nearest to each centre is taken. Weights break the tie between the two masks of a pair, which are
    equally far from their plain mean. Nothing is drawn.

    Args:
        masks: Floating point (K, h, w), K ≥ 1.
        weights: Positive (K,): how much it matters that a mask is stood for by one that is like it.
        count: At least 1.

    Returns:
        int64 (K,), indices of masks; each that occurs stands for itself.
    """
    points = masks.flatten(1)
    if count >= len(points):
        return torch.arange(len(points), device=points.device)
    centres = points[_far_apart(points, count)]
    for _ in range(_ROUNDS):
        members = F.one_hot(_nearest(points, centres), count) * weights[:, None]
        total = members.sum(0)[:, None]
        centres = torch.where(total > 0, members.T @ points / torch.where(total > 0, total, 1.0), centres)
    is_taken = torch.zeros_like(weights, dtype=torch.bool)
    is_taken[_nearest(centres, points)] = True
    taken = is_taken.nonzero()[:, 0]
    return taken[_nearest(points, points[taken])]


def _far_apart(points: Tensor, count: int) -> Tensor:
    """Return indices of ``count`` points, int64."""
    taken = [points.square().sum(1).argmax()]
    distance = torch.full_like(points[:, 0], torch.inf)
    while len(taken) < count:
        distance = torch.minimum(distance, (points - points[taken[-1]]).square().sum(1))
        taken.append(distance.argmax())
    return torch.stack(taken)


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    """Return which of ``others`` (m, d) is nearest to each point (k, d), int64 (k,)."""
    return torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
