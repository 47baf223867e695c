"""Whether explanations have stopped getting better, or have fallen: decided on differences paired image by image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.paired import Explanation, better_by, mean_per_image, same_probe

MinDelta: TypeAlias = float | Literal["se"]

LEAST_PREVIOUS = 3
ERRORS_OF_A_FALL = 2.0


@dataclass(frozen=True)
class StopDecision:
    """Whether to stop, and why.

    Attributes:
        stop: Whether the run ends.
        reason: In words, with the numbers.
        in_a_row: How many explanations in a row have spoken for it.
        difference: By how much the last explanation is better than what it was compared with; None if it was not.
    """

    stop: bool
    reason: str
    in_a_row: int = 0
    difference: Estimate | None = None


def has_fallen(
    explanations: Sequence[Explanation], *, patience: int = 3, num_previous: int | None = None, sign: float = 1.0
) -> StopDecision:
    """Decide whether the score has fallen: lies more than two paired standard errors below its own past.

    Each explanation is compared with the mean, image by image, of those before it, at least three. Explanations that
    have fallen do not enter that mean while the fall goes on, else it would follow them down.

    Args:
        explanations: In the order of time; those before a change of the probe are left out.
        patience: Stop at so many fallen ones in a row.
        num_previous: Of how many the mean is, the latest; of all if None.
        sign: 1 where higher is better, −1 where lower is.
    """
    steps = list(_compared_with_the_past(same_probe(explanations), num_previous, sign))
    found, compared, fallen = steps[-1] if steps else (None, 0, [])
    if found is None:
        return StopDecision(stop=False, reason=f"falls show after {LEAST_PREVIOUS} explanations, here {compared}")
    reason = f"{_signed(found)} ({_in_errors(found)}) from the mean of {compared} explanations before"
    if fallen:
        reason += f", a fall of more than {ERRORS_OF_A_FALL:g} standard errors in {_epochs(fallen)}"
    return StopDecision(len(fallen) >= patience, reason, len(fallen), found)


def falls_in_a_row(explanations: Sequence[Explanation], *, num_previous: int | None = None) -> list[int]:
    """Return after each explanation of one probe how many in a row have fallen by then; see `has_fallen`."""
    return [len(fallen) for _, _, fallen in _compared_with_the_past(explanations, num_previous, sign=1.0)]


def _compared_with_the_past(
    explanations: Sequence[Explanation], num_previous: int | None, sign: float
) -> Iterator[tuple[Estimate | None, int, list[Explanation]]]:
    """Yield of each explanation its difference to the mean before it, of how many that is, and who has fallen."""
    reference: list[Explanation] = []
    fallen: list[Explanation] = []
    for one in explanations:
        found, previous = None, reference if num_previous is None else reference[-num_previous:]
        if len(previous) >= LEAST_PREVIOUS:
            found = better_by(one.scores, mean_per_image([p.scores for p in previous], one.scores), sign)
        if found is not None and found.value < -ERRORS_OF_A_FALL * found.error:
            fallen = [*fallen, one]
        else:
            reference, fallen = [*reference, *fallen, one], []
        yield found, len(previous), fallen


def has_no_gain(
    explanations: Sequence[Explanation], *, patience: int = 3, min_delta: MinDelta = "se", sign: float = 1.0
) -> StopDecision:
    """Decide whether the score has stopped getting better.

    Args:
        explanations: In the order of time; those before a change of the probe are left out.
        patience: Stop at so many in a row that are no improvement on the best one.
        min_delta: What the paired difference to the best one has to exceed: its own standard error, or a number.
        sign: 1 where higher is better, −1 where lower is.
    """
    best: Explanation | None = None
    found: Estimate | None = None
    waiting: list[Explanation] = []
    for one in same_probe(explanations):
        if best is None:
            best = one
            continue
        found = better_by(one.scores, best.scores, sign)
        needed = found.error if min_delta == "se" else min_delta
        if math.isnan(found.value) or math.isnan(needed):
            continue  # too few images are shared to say anything
        if found.value > needed:
            best, waiting = one, []
        else:
            waiting.append(one)
    if best is None or found is None:
        return StopDecision(stop=False, reason="there is nothing to compare with yet")
    wanted = "its standard error" if min_delta == "se" else f"{min_delta:g}"
    reason = f"best in epoch {best.epoch}"
    if waiting:
        reason = f"{_signed(found)} from the best, epoch {best.epoch}; no gain above {wanted} in {_epochs(waiting)}"
    return StopDecision(len(waiting) >= patience, reason, len(waiting), found)


def _signed(found: Estimate) -> str:
    return f"{found.value:+.3f} ± {found.error:.3f}"


def _in_errors(found: Estimate) -> str:
    return f"{found.value / found.error:+.1f} standard errors" if found.error else "without any spread"


def _epochs(explanations: Sequence[Explanation]) -> str:
    listed = ", ".join(str(one.epoch) for one in explanations[-5:])
    more = f"{len(explanations) - 5} earlier and " if len(explanations) > 5 else ""
    return f"{more}epoch{'s' * (len(explanations) > 1)} {listed}"
