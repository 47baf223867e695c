"""From what holds and what fails to a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lightning_xai.studies.claim import Outcome, Verdict
from lightning_xai.studies.judging.contrast import Contrast

_MOST_SAID = 6
_OUTCOMES: dict[int, Outcome] = {1: "supported", 0: "undecided", -1: "contradicted"}


class Judged(Protocol):
    """What holds, fails, or is undecided."""

    def sign(self, tests: int = 1) -> int:
        """Return 1 if it holds, −1 if it fails, else 0, where it is one of several that could decide by chance."""
        ...


@dataclass(frozen=True)
class Exactly:
    """What holds or fails without an error."""

    holds: bool

    def sign(self, tests: int = 1) -> int:  # noqa: ARG002 - chance has no part in it
        """1 if it holds, else −1."""
        return 1 if self.holds else -1


@dataclass(frozen=True)
class Within:
    """Whether a number lies between two bounds, without them."""

    number: Contrast
    above: float = -math.inf
    below: float = math.inf

    def sign(self, tests: int = 1) -> int:
        """1 if the interval lies between the bounds, −1 if it lies outside, else 0."""
        low, high = self.number.ends(tests)
        return int(self.above < low and high < self.below) - int(high < self.above or low > self.below)


@dataclass(frozen=True)
class AtLeast:
    """Whether at least so many of several things hold.

    The more ways there are to hold, or to fail, by chance, the more is asked of each: if u of m have to hold, any m − u
    + 1 alike decide, and each is judged as one of so many (Bonferroni). So all of m hold where each does by itself, and
    any one of m fails where it does as one of m.

    Source: Benjamini & Heller, "Screening for Partial Conjunction Hypotheses", Biometrics 2008,
    https://doi.org/10.1111/j.1541-0420.2007.00984.x.
    """

    found: Sequence[Judged]
    needed: int

    def sign(self, tests: int = 1) -> int:
        """1 if at least so many hold, −1 if so many fail that they cannot, else 0; nothing decides nothing."""
        count = len(self.found)
        if not count or self.needed < 1:
            return int(count > 0)
        if self._are(1, tests * max(count - self.needed + 1, 1)) >= self.needed:
            return 1
        return -int(self._are(-1, tests * self.needed) > count - self.needed)

    def _are(self, sign: int, tests: int) -> int:
        return sum(one.sign(tests) == sign for one in self.found)


def verdict_of(found: Sequence[tuple[str, Contrast]], head: str, share: float = 1.0) -> Verdict:
    """Return the verdict that at least a share of some contrasts is above 0.

    Args:
        found: Of what, and the contrast.
        head: What was asked; stands before the numbers.
        share: See `outcome_of`.
    """
    judged = [one for _, one in found]
    words = [f"{name}, {one}" for name, one in found]
    return Verdict(outcome_of(judged, share), f"{head}: {counted(judged)} ({listed(words, judged)})")


def outcome_of(found: Sequence[Judged], share: float = 1.0) -> Outcome:
    """Return whether at least a share of all holds, cannot hold any more, or neither; see `AtLeast`."""
    return _OUTCOMES[of_share(found, share).sign()]


def of_share(found: Sequence[Judged], share: float) -> AtLeast:
    """Return that at least a share of some things holds, and at least one."""
    return AtLeast(found, max(math.ceil(share * len(found) - 1e-9), 1))


def counted(found: Sequence[Judged]) -> str:
    """Return how many hold and fail, each by itself, in words."""
    signs = [one.sign() for one in found]
    return f"holds in {signs.count(1)}, fails in {signs.count(-1)} of {len(signs)}"


def better_and_worse(found: Sequence[Contrast]) -> str:
    """Return how many contrasts are above and below 0, each by itself, in words."""
    signs = [one.sign() for one in found]
    return f"better in {signs.count(1)}, worse in {signs.count(-1)} of {len(signs)}"


def listed(words: Sequence[str], judged: Sequence[Judged]) -> str:
    """Return what is said of the first of several things, those that fail first, and how many are left.

    Example:
        >>> listed(["a holds", "b fails"], [Exactly(True), Exactly(False)])
        'b fails; a holds'
    """
    order = sorted(range(len(words)), key=lambda place: judged[place].sign())
    left = len(words) - _MOST_SAID
    return "; ".join([*(words[place] for place in order[:_MOST_SAID]), *([f"and {left} more"] if left > 0 else [])])
