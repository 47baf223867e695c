"""From what holds and what fails to a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_xai.studies.claim import Outcome, Verdict
from lightning_xai.studies.judging.contrast import Contrast

_MOST_SAID = 6


def verdict_of(found: Sequence[tuple[str, Contrast]], head: str, share: float = 1.0) -> Verdict:
    """Return the verdict that at least a share of some contrasts is above 0.

    Args:
        found: Of what, and the contrast.
        head: What was asked; stands before the numbers.
        share: See `outcome_of`.
    """
    signs = [one.sign for _, one in found]
    words = [f"{name}, {one}" for name, one in found]
    return Verdict(outcome_of(signs, share), f"{head}: {counted(signs)} ({listed(words)})")


def outcome_of(signs: Sequence[int], share: float) -> Outcome:
    """Return whether at least a share of all holds (1), cannot hold any more (−1 for too many), or neither.

    Nothing that could hold decides nothing.

    Example:
        >>> [outcome_of([1, 1, 0, -1], share) for share in (0.5, 0.75, 1.0)]
        ['supported', 'undecided', 'contradicted']
    """
    if not signs:
        return "undecided"
    needed = max(math.ceil(share * len(signs) - 1e-9), 1)
    if signs.count(1) >= needed:
        return "supported"
    return "contradicted" if len(signs) - signs.count(-1) < needed else "undecided"


def counted(signs: Sequence[int]) -> str:
    """Return how many hold and fail, in words."""
    return f"holds in {signs.count(1)}, fails in {signs.count(-1)} of {len(signs)}"


def listed(words: Sequence[str]) -> str:
    """Return the first of several words or numbers, and how many are left."""
    left = len(words) - _MOST_SAID
    return "; ".join([*words[:_MOST_SAID], *([f"and {left} more"] if left > 0 else [])])
