"""Which checkpoints to keep, and which is the best explained of those that are equally accurate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.paired import better_by
from lightning_xai.probing.image_scores import ImageScores

Rule: TypeAlias = Literal["best_explained", "pareto"]

_ROUNDING = 1e-6  # accuracies were logged as float32: 0.92 and 0.90 are 0.02 apart


@dataclass(frozen=True, eq=False)
class Candidate:
    """A checkpoint that may be chosen.

    Attributes:
        path: Of its file.
        epoch: From 0.
        step: As the monitor's history counts it.
        accuracy: As it was logged.
        accuracy_error: Its standard error over validation images, NaN where a margin stands for it.
        scores: Values per image of each monitored key; all candidates are of one probe.
    """

    path: str
    epoch: int
    step: int
    accuracy: float
    accuracy_error: float = math.nan
    scores: tuple[ImageScores, ...] = ()


@dataclass(frozen=True)
class Objectives:
    """What checkpoints are judged by.

    Attributes:
        names: Key of the accuracy, then of each explanation score.
        signs: Of each: 1 where higher is better, −1 where lower is.
        margin: How far from the best accuracy still counts as equally accurate; its standard error if None.
    """

    names: tuple[str, ...]
    signs: tuple[float, ...]
    margin: float | None = None

    def values(self, one: Candidate) -> tuple[float, ...]:
        """Return the accuracy and the means of the explanation scores, each so that higher is better."""
        numbers = (one.accuracy, *(scores.estimate().value for scores in one.scores))
        return tuple(sign * number for sign, number in zip(self.signs, numbers, strict=True))

    def margin_at(self, best: Candidate) -> float:
        """Return how far from the best accuracy a checkpoint may be."""
        return best.accuracy_error if self.margin is None else self.margin


@dataclass(frozen=True)
class Choice:
    """What to keep, which is the best, and why.

    Attributes:
        best: The chosen checkpoint.
        kept: In the order of time, the chosen one among them.
        reason: Why it was chosen, in words, with the numbers.
        crowded_out: Those of the front that were left out because it is larger than ``max_kept``.
    """

    best: Candidate
    kept: tuple[Candidate, ...]
    reason: str
    crowded_out: tuple[Candidate, ...] = ()


def chosen(
    candidates: Sequence[Candidate], objectives: Objectives, rule: Rule = "best_explained", max_kept: int | None = 5
) -> Choice:
    """Choose the best explained of the checkpoints that are equally accurate, and say which others to keep.

    Equally accurate are those within the margin of the best accuracy. Of these, and of those that none beats in both
    accuracy and explanation score, the best score wins; scores within one standard error of their paired difference to
    it are ties, and the most accurate of these wins.

    Kept are those that none beats in everything, the *front*: all of it by ``rule="pareto"``; where the rule is
    ``"best_explained"``, its part within the margin, because only that can become right when the best accuracy rises.

    Args:
        candidates: In the order of time, at least one.
        objectives: What they are judged by.
        rule: What is kept.
        max_kept: Of a larger front, those are left out first whose next more accurate neighbour is explained nearly as
            well; never the chosen one, nor the most accurate.
    """
    equally = _equally_accurate(candidates, objectives)
    best, reason = _best_explained(front(equally, objectives, num_scores=1), objectives, len(equally), len(candidates))
    whole = front(candidates if rule == "pareto" else equally, objectives)
    kept = _thinned(whole, best, objectives, max_kept)
    return Choice(best, tuple(kept), reason, tuple(one for one in whole if one not in kept))


def front(candidates: Sequence[Candidate], objectives: Objectives, num_scores: int | None = None) -> list[Candidate]:
    """Return the candidates that none beats: as good in everything and better in something, or equal and earlier.

    Args:
        candidates: In the order of time.
        objectives: What they are judged by.
        num_scores: How many of the explanation scores count beside the accuracy; all if None.
    """
    width = None if num_scores is None else 1 + num_scores
    return [candidates[place] for place in unbeaten([objectives.values(one)[:width] for one in candidates])]


def unbeaten(values: Sequence[Sequence[float]]) -> list[int]:
    """Return the places of the Pareto front: of values that no others reach in everything; of equals the first.

    Example:
        >>> unbeaten([(0.5, 0.9), (0.9, 0.4), (0.4, 0.8), (0.9, 0.4)])
        [0, 1]
    """
    return [
        i
        for i, one in enumerate(values)
        if not any(_beats(other, one, earlier=j < i) for j, other in enumerate(values) if j != i)
    ]


def _beats(a: Sequence[float], b: Sequence[float], *, earlier: bool) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and (tuple(a) != tuple(b) or earlier)


def _equally_accurate(candidates: Sequence[Candidate], objectives: Objectives) -> list[Candidate]:
    sign = objectives.signs[0]
    most = max(candidates, key=lambda one: sign * one.accuracy)
    margin = objectives.margin_at(most) + _ROUNDING
    return [one for one in candidates if one is most or sign * (most.accuracy - one.accuracy) <= margin]


def _best_explained(
    candidates: Sequence[Candidate], objectives: Objectives, num_equal: int, num_all: int
) -> tuple[Candidate, str]:
    """Return the best explained of a front of equally accurate candidates, and why it is."""
    top = max(candidates, key=lambda one: objectives.values(one)[1])
    against = {id(one): better_by(top.scores[0], one.scores[0], objectives.signs[1]) for one in candidates}
    ties = [one for one in candidates if one is top or _is_tie(against[id(one)])]
    best = max(ties, key=objectives.values)
    accuracy, score = objectives.names[:2]
    most = max(candidates, key=lambda one: objectives.values(one)[0])
    within = f"within {objectives.margin_at(most):.3g} of the best {accuracy} ({most.accuracy:.4g}, epoch {most.epoch})"
    reason = f"epoch {best.epoch}, {score} {best.scores[0].estimate()}, {accuracy} {best.accuracy:.4g}: "
    if num_equal == 1:
        return best, reason + (f"no other is {within}" if num_all > 1 else "the first one")
    if best is top:
        return best, reason + f"the best explained of {num_equal} {within}"
    return best, reason + (
        f"the most accurate of {len(ties)} whose {score} cannot be told apart (epoch {top.epoch} is better by "
        f"{against[id(best)]}), of {num_equal} {within}"
    )


def _is_tie(better: Estimate) -> bool:
    return not better.value > better.error  # also where too few images are shared to tell


def _thinned(
    candidates: Sequence[Candidate], best: Candidate, objectives: Objectives, max_kept: int | None
) -> list[Candidate]:
    kept = list(candidates)
    while max_kept is not None and len(kept) > max_kept:
        by_accuracy = sorted(kept, key=objectives.values)
        lost = {
            id(one): objectives.values(one)[1] - objectives.values(more_accurate)[1]
            for one, more_accurate in pairwise(by_accuracy)
            if one is not best
        }
        least = min(lost, key=lambda place: lost[place], default=None)
        kept = [best] if least is None else [one for one in kept if id(one) != least]
    return kept
