"""What a saved run says in numbers: scores over epochs, paired changes, and how they go with accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.breakdown import Part, names_of, parts
from lightning_xai.probing.decisions.accuracy import likely_accuracies
from lightning_xai.probing.decisions.alignment import Alignment, Point
from lightning_xai.probing.explained import GAIN, Explained, ExplainedEpoch, moment_of
from lightning_xai.probing.image_scores import difference
from lightning_xai.reports.saved_run import SavedRun

_HEADLINES = (
    "faithfulness_gain",
    "faithfulness_skill",
    "pointing_game",
    "relevance_mass_accuracy",
    "reliance",
    "max_sensitivity",
)
_MOST_HEADLINES = 4
_MOST_ALIGNED = 3

_ByPart: TypeAlias = dict[tuple[str, str], dict[str, Part]]


@dataclass(frozen=True)
class Score:
    """One number of a run over its epochs.

    Attributes:
        name: Of a metric, or of its gain over the random control.
        explainer: Whose heatmaps.
        loader: Index of the loader.
        epochs: Each epoch that has it, with its value.
        change: The last epoch's value minus the first's, paired image by image; None with a single epoch.
        higher_is_better: None where the metric has no direction.
    """

    name: str
    explainer: str
    loader: int
    epochs: Sequence[tuple[ExplainedEpoch, Estimate]]
    change: Estimate | None
    higher_is_better: bool | None

    @property
    def last(self) -> Estimate:
        """The value of the last epoch."""
        return self.epochs[-1][1]

    @property
    def first(self) -> Estimate:
        """The value of the first epoch."""
        return self.epochs[0][1]


def scores_of(run: SavedRun) -> list[Score]:
    """Return every score of every loader and explainer that some epoch has a value of, gains behind their metrics."""
    found = []
    for loader in sorted(run.epochs[-1].loaders):
        last = run.epochs[-1].loaders[loader]
        for explainer, rows in last.rows.items():
            for metric in rows:
                gains = [metric + GAIN] if metric in last.control_rows else []
                found += [_score(run, name, explainer, loader) for name in (metric, *gains)]
    return [one for one in found if one.epochs]


def headlines(scores: Sequence[Score]) -> list[str]:
    """Return the names of the scores to look at first, at most four."""
    names = list(dict.fromkeys(score.name for score in scores))
    chosen = [name for name in _HEADLINES if name in names]
    others = [name for name in names if name.endswith(GAIN)] or names
    return (chosen or others)[:_MOST_HEADLINES]


def accuracy_of(run: SavedRun, loader: int) -> tuple[str, list[tuple[ExplainedEpoch, float]]]:
    """Return the name of the accuracy, a logged one if there is any, and its value beside each explanation.

    Without a name that speaks of accuracy it is what a report asked for, such as ``AccuracyAlignment("val_auroc")``.
    """
    names = {name for logged in run.logged.values() for name in logged}
    suffix = f"/dataloader_idx_{loader}"
    of_loader = {name for name in names if name.endswith(suffix) or "/dataloader_idx_" not in name}
    logged = likely_accuracies(of_loader, run.prefix) or sorted(of_loader)
    own = f"{run.prefix}/probe_accuracy"
    keys = (own, own + suffix)
    values = []
    for epoch in run.epochs:
        probe = next((epoch.estimates[key].value for key in keys if key in epoch.estimates), math.nan)
        value = run.logged.get(moment_of(epoch), {}).get(logged[0], math.nan) if logged else probe
        values.append((epoch, value))
    return logged[0] if logged else own, [(epoch, value) for epoch, value in values if math.isfinite(value)]


def parts_of(run: SavedRun, scores: Sequence[Score]) -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Yield title, names of scores, and a row per class and group of the last epoch, for each loader and explainer."""
    names = headlines(scores)
    for loader, explainer, by_part in _values_of_parts(run, names):
        rows = [
            {
                "by": by,
                "name": run.class_name(loader, int(name)) if by == "class" else name or "none",
                "images": max(part.num_images for part in of_part.values()),
                "values": [of_part[one].estimate if one in of_part else None for one in names],
            }
            for (by, name), of_part in by_part.items()
        ]
        yield explainer if len(run.epochs[-1].loaders) == 1 else f"{explainer}, loader {loader}", names, rows


def alignments_of(run: SavedRun, scores: Sequence[Score]) -> list[Alignment]:
    """Return accuracy and each headline score over the epochs that have both."""
    shown = headlines(scores)[:_MOST_ALIGNED]
    found = []
    for score in scores:
        if score.name not in shown:
            continue
        name, accuracy = accuracy_of(run, score.loader)
        by_moment = {moment_of(epoch): value for epoch, value in accuracy}
        points = [
            Point(epoch.epoch, epoch.step, by_moment[moment_of(epoch)], value)
            for epoch, value in score.epochs
            if moment_of(epoch) in by_moment
        ]
        sign = None if score.higher_is_better is None else 1.0 if score.higher_is_better else -1.0
        called = score.name if len(run.explainers) == 1 else f"{score.explainer} {score.name}"
        found.append(Alignment(name, called, points, 1.0, sign, num_explained=len(run.epochs)))
    return [one for one in found if len(one.points) > 1]


def _values_of_parts(
    run: SavedRun, names: Sequence[str]
) -> list[tuple[int, str, dict[tuple[str, str], dict[str, Part]]]]:
    """Return what the last epoch says about each class and group: loader, explainer, and part -> score -> value.

    A part is ``("class", name)`` or ``("group", name)``; of a probe of one class without groups there is nothing.

    Args:
        run: The run.
        names: Of the scores.
    """
    found = []
    for loader, explained in run.epochs[-1].loaders.items():
        for explainer in explained.rows:
            scored = [name for name in names if name in names_of(explained, explainer)]
            by_part: _ByPart = {}
            for part in parts(explained, explainer, scored):
                by_part.setdefault((part.by, part.name), {})[part.metric] = part
            if len(by_part) > 1:
                found.append((loader, explainer, by_part))
    return found


def _score(run: SavedRun, name: str, explainer: str, loader: int) -> Score:
    known = [(epoch, epoch.loaders[loader]) for epoch in run.epochs if _has(epoch.loaders.get(loader), name, explainer)]
    estimates = [(epoch, found.scores(name, explainer).estimate()) for epoch, found in known]
    finite = [(epoch, one) for epoch, one in estimates if math.isfinite(one.value)]
    metric = known[-1][1].metrics[name.removesuffix(GAIN) if name.endswith(GAIN) else name]
    change = None
    if len(finite) > 1:
        first, last = (one[0].loaders[loader].scores(name, explainer) for one in (finite[0], finite[-1]))
        change = difference(last, first)
    higher = True if name.endswith(GAIN) else metric.higher_is_better
    return Score(name, explainer, loader, finite, change, higher)


def _has(found: Explained | None, name: str, explainer: str) -> bool:
    if found is None or explainer not in found.rows:
        return False
    base = name.removesuffix(GAIN)
    return name in found.rows[explainer] or (base in found.rows[explainer] and base in found.control_rows)
