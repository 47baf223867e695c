"""Parts of a data set between which no patient, slide or lesion is divided."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai._randomness import uniform

_MOST_GROUPS_TO_SWAP = 2000  # of every two groups it is asked what their exchange would change
_LEAST_GAIN = 1e-12


def grouped_split(
    labels: Sequence[int] | Sequence[Any] | Tensor,
    groups: Sequence[Hashable],
    fractions: Sequence[float],
    seed: int = 0,
) -> list[list[int]]:
    """Split images into parts so that no group is in two of them and classes are shared out evenly.

    With ``d`` the number of images of class c in part p as a share of all of that class, less the part's fraction, the
    sum of ``d²`` over parts, classes, and all images together is made small: groups are dealt out, the largest first,
    each to where it does most good; then single groups are moved, and up to 2,000 groups exchanged in pairs, as long as
    the sum falls. So no single move makes it smaller; it need not be the least there is. Large groups leave no choice:
    look at what came out.

    Args:
        labels: Class of each image, whole numbers (N,), -1 where unknown; or yes or no for each class, (N, K).
        groups: Patient, slide or lesion of each image.
        fractions: Share of each part, each above 0, together 1.
        seed: Decides between groups that are alike.

    Returns:
        The places of each part's images, rising.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If lengths do not fit, fractions do not sum to 1, or there are too few groups for all parts.

    Example:
        >>> grouped_split([0, 0, 1, 1, 0, 1], ["a", "a", "b", "b", "c", "d"], [2 / 3, 1 / 3])
        [[0, 1, 2, 3], [4, 5]]
    """
    check_count(seed, "seed", least=0)
    shares = _checked_fractions(fractions)
    columns = _columns(labels)
    if len(columns) != len(groups):
        raise ValueError(f"Expected `groups` for {len(columns)} images, as many as `labels`, but got {len(groups)}.")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(numbers) < len(shares):
        raise ValueError(f"Expected at least {len(shares)} groups, one for each part, but got {len(numbers)}.")
    group_of = torch.tensor([numbers[group] for group in groups])
    amounts = torch.zeros(len(numbers), columns.shape[1], dtype=torch.float64).index_add_(0, group_of, columns)
    part_of = _improved(amounts, _dealt(amounts, shares, seed), shares)
    parts = [(part_of[group_of] == part).nonzero().flatten().tolist() for part in range(len(shares))]
    if not all(parts):
        raise ValueError(
            f"Expected a group for each part, but with fractions {list(fractions)} part {parts.index([])} gets none: "
            f"the {len(numbers)} groups are too large for that. Use other fractions."
        )
    return parts


def _columns(labels: Any) -> Tensor:
    """Return for each image which share it is of each class, and of all images, float64 (N, K + 1)."""
    stacked = torch.stack(list(labels)) if _are_rows(labels) else torch.as_tensor(labels)
    if stacked.ndim not in {1, 2} or not len(stacked):
        raise ValueError(f"Expected `labels` of shape (N,) or (N, K), but got {tuple(stacked.shape)}.")
    if stacked.ndim == 1:
        if stacked.is_floating_point():
            raise TypeError(f"Expected `labels` of shape (N,) to be whole numbers, but got {stacked.dtype}.")
        stacked = stacked[:, None] == torch.tensor(sorted(set(stacked.tolist())))
    columns = torch.cat([stacked.double(), torch.ones(len(stacked), 1, dtype=torch.float64)], dim=1)
    return columns / columns.sum(0).clamp(min=_LEAST_GAIN)


def _are_rows(labels: Any) -> bool:
    return isinstance(labels, (list, tuple)) and len(labels) > 0 and isinstance(labels[0], Tensor)


def _checked_fractions(fractions: Sequence[float]) -> Tensor:
    shares = torch.tensor([float(share) for share in fractions], dtype=torch.float64)
    if len(shares) < 2 or bool((shares <= 0).any()) or not math.isclose(float(shares.sum()), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"Expected `fractions` to be two or more numbers above 0 that sum to 1, but got {list(fractions)}."
        )
    return shares


def _dealt(amounts: Tensor, shares: Tensor, seed: int) -> Tensor:
    """Return a part for each group, int64 (G,): the largest first, each to where the sum of squares is least."""
    shuffled = uniform(torch.arange(len(amounts)), (), seed=seed, purpose="grouped split").argsort()
    order = shuffled[amounts[shuffled].square().sum(1).argsort(descending=True, stable=True)]
    excess = (0.0 - shares)[:, None].repeat(1, amounts.shape[1])
    part_of = torch.empty(len(amounts), dtype=torch.int64)
    for group in order.tolist():
        part = int((excess @ amounts[group]).argmin())
        part_of[group] = part
        excess[part] += amounts[group]
    return part_of


def _improved(amounts: Tensor, part_of: Tensor, shares: Tensor) -> Tensor:
    """Return parts of groups that no single move, and of few groups no exchange of two, makes better."""
    part_of = part_of.clone()
    swaps = len(amounts) <= _MOST_GROUPS_TO_SWAP
    while True:
        held = torch.zeros(len(shares), amounts.shape[1], dtype=amounts.dtype).index_add_(0, part_of, amounts)
        excess = held - shares[:, None]
        # of each group and part: what the group's images meet there
        met = amounts @ excess.T
        own = met.gather(1, part_of[:, None])
        moved = 2 * (amounts.square().sum(1, keepdim=True) + met - own)
        moved[torch.arange(len(amounts)), part_of] = 0.0
        place = int(moved.argmin())
        if float(moved.flatten()[place]) < -_LEAST_GAIN:
            part_of[place // len(shares)] = place % len(shares)
            continue
        pair = _best_exchange(amounts, part_of, met) if swaps else None
        if pair is None:
            return part_of
        one, other = pair
        part_of[[one, other]] = part_of[[other, one]]


def _best_exchange(amounts: Tensor, part_of: Tensor, met: Tensor) -> tuple[int, int] | None:
    """Return the two groups of different parts whose exchange lowers the sum of squares most; None if none does."""
    at_other = met[:, part_of]  # of each group, in the part of each other one
    own = at_other.diagonal()
    change = 2 * (torch.cdist(amounts, amounts).square() + at_other + at_other.T - own[:, None] - own[None, :])
    change[part_of[:, None] == part_of[None, :]] = 0.0
    place = int(change.argmin())
    if float(change.flatten()[place]) >= -_LEAST_GAIN:
        return None
    return place // len(amounts), place % len(amounts)
