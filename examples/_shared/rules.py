"""Which epoch each rule would have taken, asked of a run that went to its end: what it had seen until each epoch."""

import math
from collections.abc import Callable, Mapping, Sequence

from lightning_xai import ExplainedEpoch
from lightning_xai.probing.decisions.accuracy import error_of_share
from lightning_xai.probing.decisions.choosing import Candidate, Choice, Objectives, chosen
from lightning_xai.probing.decisions.paired import Explanation
from lightning_xai.probing.decisions.stopping import StopDecision, has_fallen, has_no_gain

History = Sequence[ExplainedEpoch]
Accuracies = Mapping[int, float]

GAIN = "faithfulness_gain"


def highest(history: History, key: str) -> int | None:
    """Return the epoch with the greatest value, which `ModelCheckpoint` would keep; None if it is defined in none."""
    defined = [row for row in history if key in row]
    return max(defined, key=lambda row: row[key]).epoch if defined else None


def most_accurate(accuracies: Accuracies) -> int:
    """Return the first of the epochs with the highest accuracy."""
    return max(accuracies, key=lambda epoch: accuracies[epoch])


def plain_stop(history: History, patience: int = 3) -> int | None:
    """Return when `EarlyStopping("xai/faithfulness", mode="max", patience=3)` stops."""
    best, waited = -math.inf, 0
    for row in history:
        best, waited = (row["xai/faithfulness"], 0) if row["xai/faithfulness"] > best else (best, waited + 1)
        if waited >= patience:
            return row.epoch
    return None


def stop_at_a_fall(history: History) -> int | None:
    """Return when `ExplanationEarlyStopping()` stops."""
    return _first_stop([Explanation(row.epoch, row.scores(GAIN)) for row in history], has_fallen)


def stop_without_gain(history: History, accuracies: Accuracies, least: float) -> int | None:
    """Return when `ExplanationEarlyStopping(rule="no_gain", only_if={"val_accuracy": least})` stops."""
    able = (row for row in history if accuracies[row.epoch] >= least)
    return _first_stop([Explanation(row.epoch, row.scores(GAIN)) for row in able], has_no_gain)


def explanation_checkpoint(history: History, accuracies: Accuracies, num_validation: int) -> Choice:
    """Return what `ExplanationCheckpoint(rule="pareto", max_kept=None)` chooses and keeps.

    ``rule="best_explained"`` chooses the same one, and keeps less.
    """
    candidates = [
        Candidate("", row.epoch, row.step, accuracy, error_of_share(accuracy, num_validation), (row.scores(GAIN),))
        for row in history
        for accuracy in [accuracies[row.epoch]]
    ]
    return chosen(candidates, Objectives(("val_accuracy", f"xai/{GAIN}"), (1.0, 1.0)), "pareto", max_kept=None)


def _first_stop(
    explanations: Sequence[Explanation], judge: Callable[[Sequence[Explanation]], StopDecision]
) -> int | None:
    seen = (explanations[: end + 1] for end in range(len(explanations)))
    return next((one[-1].epoch for one in seen if judge(one).stop), None)
