"""The class or the group of images that is explained worst, and how far the best is from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.explained import GAIN, Explained
from lightning_xai.probing.image_scores import ImageScores

LEAST_IMAGES = 2
"""Defined images that a class or a group must have to be the worst or the best: with fewer there is no error."""
WORST_CLASS, WORST_GROUP, GAP = "worst_class/", "worst_group/", "gap/"


@dataclass(frozen=True)
class Part:
    """What a metric says about the images of one class or group.

    Attributes:
        by: ``"class"`` or ``"group"``.
        name: Of the class (its index) or group.
        metric: Name of the metric or the gain.
        estimate: Value, standard error, undefined images.
        num_images: Images, also those that are undefined.
    """

    by: str
    name: str
    metric: str
    estimate: Estimate
    num_images: int


def parts(found: Explained, explainer: str, names: Sequence[str]) -> Iterator[Part]:
    """Yield what each metric or gain says about each class, and about each group if there are groups.

    Args:
        found: About the probe.
        explainer: Whose heatmaps.
        names: Of the metrics and gains.
    """
    for metric in names:
        for by, of_names in parts_of(found, metric, explainer).items():
            for name, scores in of_names.items():
                yield Part(by, name, metric, scores.estimate(), len(scores.keys))


def names_of(found: Explained, explainer: str) -> list[str]:
    """Return the names of the metrics that were scored and of their gains."""
    names = [(name, name + GAIN) if name in found.control_rows else (name,) for name in found.rows[explainer]]
    return [one for several in names for one in several]


def breakdown_values(found: Explained, explainer: str, names: Sequence[str]) -> dict[str, Estimate]:
    """Return the values of the worst class, of the worst group, and the gap, by the name of their `Key`.

    Args:
        found: About the probe.
        explainer: Whose heatmaps.
        names: Of metrics and gains; those that were not scored are left out.
    """
    values: dict[str, Estimate] = {}
    for name in names:
        if name not in names_of(found, explainer):
            continue
        by = parts_of(found, name, explainer)
        values[WORST_CLASS + name] = worst(by["class"])
        if "group" in by:
            values[WORST_GROUP + name] = worst(by["group"])
        values[GAP + name] = gap(by.get("group", by["class"]))
    return values


def parts_of(found: Explained, name: str, explainer: str) -> dict[str, dict[str, ImageScores]]:
    """Return the scores of the images of each class, below ``"class"``, and of each group, below ``"group"``.

    Args:
        found: About the probe.
        name: Of a metric or a gain.
        explainer: Whose heatmaps.
    """
    scores = found.scores(name, explainer)
    classes: list[int] = found.labels.clamp(min=-1).tolist()
    by_class = {str(one): of_one for one, of_one in scores.by(classes).items()}
    return {"class": by_class} | ({} if found.groups is None else {"group": scores.by(found.groups)})


def worst(scores: Mapping[str, ImageScores]) -> Estimate:
    """Return the value of the part that is explained worst, with its own error; NaN if none has enough images.

    The least of several means with errors is lower than the least of the true ones, the more so the fewer images.

    Args:
        scores: Name -> those of its images, all of one metric that has a better direction.
    """
    ordered = _from_worst(scores)
    return ordered[0] if ordered else Estimate(math.nan)


def gap(scores: Mapping[str, ImageScores]) -> Estimate:
    """Return by how much the best part exceeds the worst, ≥ 0; NaN if fewer than two have enough images.

    Its error is that of a difference of two means of different images; undefined images are those of both.

    Args:
        scores: As of `worst`.
    """
    ordered = _from_worst(scores)
    if len(ordered) < 2:
        return Estimate(math.nan)
    first, last = ordered[0], ordered[-1]
    error = math.hypot(first.error, last.error)
    return Estimate(abs(last.value - first.value), error, first.undefined + last.undefined)


def _from_worst(scores: Mapping[str, ImageScores]) -> list[Estimate]:
    """Return the values of the parts with enough images, the worst first."""
    estimates = [(len(one.keys), one.estimate()) for one in scores.values()]
    enough = [one for count, one in estimates if count - one.undefined >= LEAST_IMAGES and math.isfinite(one.value)]
    higher = all(one.higher_is_better for one in scores.values())
    return sorted(enough, key=lambda one: one.value if higher else -one.value)
