"""Whether a model seems right for the wrong reason: decided on the rows of its explanations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from lightning_xai.metrics.estimate import Estimate, standard_error, undefined_rows
from lightning_xai.probing.decisions.paired import Explanation, same_probe
from lightning_xai.probing.decisions.stopping import LEAST_PREVIOUS, has_fallen
from lightning_xai.probing.explained import GAIN, Explained, ExplainedEpoch
from lightning_xai.probing.plan import is_localization
from lightning_xai.probing.shortcut_alarm import AREA, BORDER, CENTER, OBJECT, ShortcutAlarm, area_of_region
from lightning_xai.probing.validation import Accuracy

LEAST_IMAGES = 8  # of fewer, the standard error is itself a guess
ERRORS = 2.0
_LATEST = 50  # comparing each explanation with all before it takes longer the longer a run is
_LOCALIZATIONS = ("pointing_game", "relevance_mass_accuracy")
_SKILLS = ("faithfulness_skill", "insertion_skill")


@dataclass(frozen=True)
class ShortcutDecision:
    """Whether one cause raises the alarm, and why.

    Attributes:
        cause: ``"apart/<score>"``, ``"object"``, ``"border"`` or ``"regions/<name>"``.
        raised: Whether it does.
        reason: In words, with the numbers; of a cause that does not, what is missing.
    """

    cause: str
    raised: bool
    reason: str


def shortcut_decisions(
    epochs: Sequence[ExplainedEpoch], alarm: ShortcutAlarm, explainer: str, loader: int = 0
) -> list[ShortcutDecision]:
    """Decide for each cause whether it raises the alarm at the last of some explained epochs.

    Args:
        epochs: Of a fit, in the order of time; those before the latest 50 are forgotten.
        alarm: Its settings.
        explainer: Whose heatmaps.
        loader: Index of the validation loader.

    Returns:
        A decision for each cause that can be judged; none of fewer than 8 images.
    """
    latest = epochs[-max(_LATEST, 2 * alarm.patience + LEAST_PREVIOUS) :]
    found = [epoch for epoch in latest if loader in epoch.loaders and explainer in epoch.loaders[loader].rows]
    last = found[-1].loaders[loader] if found else None
    if last is None or found[-1] is not epochs[-1] or len(last) < LEAST_IMAGES:
        return []
    decisions = [_apart(found, alarm.patience, name, explainer, loader) for name in _scores(last, explainer)]
    areas = (OBJECT, BORDER, *map(area_of_region, alarm.nuisance))
    known = [area for area in areas if area in last.heat_shares.get(explainer, {})] if last.control_rows else []
    of_loader = [epoch.loaders[loader] for epoch in found]
    return decisions + [_elsewhere(of_loader, alarm.patience, area, explainer) for area in known]


def _scores(found: Explained, explainer: str) -> Iterator[str]:
    """Yield the scores that may part from accuracy, of those that there are: a localization, a gain and a skill."""
    rows = found.rows[explainer]
    localizations = [name for name in rows if is_localization(found.metrics[name])]
    preferred = [name for name in _LOCALIZATIONS if name in localizations]
    yield from (preferred or localizations)[:1]
    if found.control_rows:
        yield _gain(found)
    yield from [name for name in _SKILLS if name in rows][:1]


def _gain(found: Explained) -> str:
    names = list(found.control_rows)
    return ("faithfulness" if "faithfulness" in names else names[0]) + GAIN


def _apart(epochs: Sequence[ExplainedEpoch], patience: int, name: str, explainer: str, loader: int) -> ShortcutDecision:
    """Decide whether a score has fallen while accuracy rose, both compared with the explanations before the fall."""
    cause = f"apart/{name}"
    known = [epoch for epoch in epochs if _has(epoch.loaders[loader], name, explainer)]
    explanations = same_probe([Explanation(epoch.epoch, epoch.scores(name, explainer, loader)) for epoch in known])
    fall = has_fallen(explanations, patience=patience)
    undefined = 0 if fall.difference is None else fall.difference.undefined
    if not fall.stop or len(explanations[-1].scores.keys) - undefined < LEAST_IMAGES:
        return ShortcutDecision(cause, raised=False, reason=f"{name}: {fall.reason}")
    accuracies = [epoch.loaders[loader].accuracy for epoch in known[-len(explanations) :]]
    before, since = _mean_accuracy(accuracies[: -fall.in_a_row]), _mean_accuracy(accuracies[-fall.in_a_row :])
    raised = since.value - before.value > ERRORS * math.hypot(before.error, since.error)
    course = f"while accuracy rose from {before} to {since}" if raised else "and accuracy has not risen"
    return ShortcutDecision(cause, raised, f"{name}: {fall.reason}, {course}")


def _has(found: Explained, name: str, explainer: str) -> bool:
    metric = name.removesuffix(GAIN)
    return metric in found.rows[explainer] and (metric == name or metric in found.control_rows)


def _mean_accuracy(accuracies: Sequence[Accuracy | None]) -> Estimate:
    """Return the mean over epochs, with the error of one epoch: they are of the same images."""
    known = [one for one in accuracies if one is not None]
    if not known:
        return Estimate(math.nan)
    return Estimate(sum(one.value for one in known) / len(known), sum(one.error for one in known) / len(known))


def _elsewhere(found: Sequence[Explained], patience: int, area: str, explainer: str) -> ShortcutDecision:
    """Decide whether the last explanations are of a model that is right, and of heat that is faithful and misplaced."""
    in_a_row = 0
    for one in reversed(found):
        if not _is_misplaced(one, area, explainer):
            break
        in_a_row += 1
    name = area.removeprefix(area_of_region(""))
    claim = (
        f"the model is right and its heat is faithful, but {'not' if area == OBJECT else 'too much'} on the {name}: "
    )
    raised = in_a_row >= patience
    reason = f"{_described(found[-1], area, name, explainer)}, {in_a_row} explanations in a row"
    return ShortcutDecision(area, raised, claim + reason if raised else reason)


def _is_misplaced(found: Explained, area: str, explainer: str) -> bool:
    """Return whether a model is right, its heat faithful, and not where it should be."""
    heat = found.heat_shares.get(explainer, {}).get(area)
    if heat is None or int((~heat.isnan()).sum()) < LEAST_IMAGES or not found.control_rows:
        return False
    is_right = found.accuracy is not None and found.accuracy.is_right
    if not is_right or not _is_above(found.scores(_gain(found), explainer).estimate()):
        return False
    beyond_area, beyond_center = (_mean(heat - found.chance_shares[kind][area]) for kind in (AREA, CENTER))
    if area != OBJECT:
        return _is_above(beyond_area)
    # few images show nothing to be beyond chance: they have to show that it is not far beyond it
    below_twice_the_area = _mean(2.0 * found.chance_shares[AREA][area] - heat)
    return _is_above(below_twice_the_area) and not _is_above(beyond_area) and not _is_above(beyond_center)


def _described(found: Explained, area: str, name: str, explainer: str) -> str:
    gain = _gain(found)
    heat, size, center = (
        _mean(rows[area]) for rows in (found.heat_shares[explainer], *(found.chance_shares[k] for k in (AREA, CENTER)))
    )
    of_center = f" (a heatmap of the centre has {center.value:.3f} there)" if area == OBJECT else ""
    return (
        f"accuracy {found.accuracy or 'unknown'}, {gain} {found.scores(gain, explainer).estimate()}, "
        f"{heat} of the heat on the {name}, which is {size.value:.3f} of the image{of_center}"
    )


def _is_above(estimate: Estimate) -> bool:
    """Return whether an estimate exceeds 0 by more than two standard errors."""
    return estimate.value > ERRORS * estimate.error


def _mean(rows: Tensor) -> Estimate:
    return Estimate(float(rows.nanmean()), float(standard_error(rows)), int(undefined_rows(rows).sum()))
