"""The checkpoints that may still be the best, as a run remembers them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_xai.probing.decisions.choosing import Candidate
from lightning_xai.probing.decisions.paired import Monitored, same_images
from lightning_xai.probing.explained import ExplainedEpoch, Moment, moment_of
from lightning_xai.probing.image_scores import ImageScores


@dataclass
class KeptCheckpoints:
    """Candidates, and where in the run we are.

    Attributes:
        candidates: In the order of time; their scores are in the monitor's history.
        handled: The last explanation that was a candidate, or could not be one.
        beaten: Files that are removed once the next checkpoint is written, which knows that they are.
        reason: Why the best one was chosen.
    """

    candidates: tuple[Candidate, ...] = ()
    handled: Moment | None = None
    beaten: list[str] = field(default_factory=list)
    reason: str | None = None

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {
            "candidates": [
                [one.path, one.epoch, one.step, one.accuracy, one.accuracy_error] for one in self.candidates
            ],
            "handled": None if self.handled is None else list(self.handled),
            "beaten": list(self.beaten),
            "reason": self.reason,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> KeptCheckpoints:
        """Return what a checkpoint holds."""
        candidates = tuple(
            Candidate(str(path), int(epoch), int(step), float(accuracy), float(error))
            for path, epoch, step, accuracy, error in state["candidates"]
        )
        handled = None if state["handled"] is None else (int(state["handled"][0]), int(state["handled"][1]))
        reason = None if state["reason"] is None else str(state["reason"])
        return cls(candidates, handled, [str(path) for path in state["beaten"]], reason)

    def comparable(self, epochs: Sequence[ExplainedEpoch], monitored: Sequence[Monitored]) -> list[Candidate]:
        """Return the candidates with their scores: those whose images are those of the last explanation."""
        by_moment = {moment_of(epoch): epoch for epoch in epochs}
        scored = []
        for one in self.candidates:
            epoch = by_moment.get((one.epoch, one.step))
            scores = None if epoch is None else scores_of(epoch, monitored)
            if scores is not None and _are_alike(scores, epochs[-1], monitored):
                scored.append(replace(one, scores=scores))
        return scored


def scores_of(epoch: ExplainedEpoch, monitored: Sequence[Monitored]) -> tuple[ImageScores, ...] | None:
    """Return the values per image of every monitored key; None if one has none that is defined."""
    found = [one.of(epoch) for one in monitored]
    scores = tuple(one for one in found if one is not None and math.isfinite(one.estimate().value))
    return scores if len(scores) == len(found) else None


def _are_alike(scores: Sequence[ImageScores], newest: ExplainedEpoch, monitored: Sequence[Monitored]) -> bool:
    others = [one.of(newest) for one in monitored]
    return all(b is not None and same_images(a, b) for a, b in zip(scores, others, strict=True))
