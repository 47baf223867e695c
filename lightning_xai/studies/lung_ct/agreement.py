"""Whether networks explain one image alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from statistics import fmean
from typing import Any

from lightning_xai.comparison.records import Records
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast, with_errors
from lightning_xai.studies.judging.verdict import Judged, Within, outcome_of

_SUBSTANTIAL = 0.5
_COLUMNS = ("first", "second", "correlation", "image_error", "training_error", "trainings", "pairs")


def between_networks(context: AnalysisContext, part: str, explainer: str) -> Records:
    """Return how much the heatmaps of two networks agree on one image, mean over images and pairs of trainings.

    A network and itself are its trainings from different seeds: what is left to chance. The error over images is the
    largest of a pair, because all pairs explain the same images. The error between trainings is the jackknife's over
    trainings, because pairs that share one are not independent; it is NaN where leaving one out leaves no pair.
    """
    findings = context.findings
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in findings.part(part).agreement("models").where(explainer=explainer):
        if row["second"] in findings.networks:  # and not all others together
            pairs.setdefault((findings.group(row["first"]), findings.group(row["second"])), []).append(row)
    networks: dict[str, list[str]] = {}
    for name in findings.networks:
        networks.setdefault(findings.group(name), []).append(name)
    rows = []
    for first, second in combinations_with_replacement(networks, 2):
        found = [*pairs.get((first, second), []), *(pairs.get((second, first), []) if first != second else [])]
        if found:
            rows.append((first, second, *_mean(found, [networks[one] for one in dict.fromkeys((first, second))])))
    return Records(_COLUMNS, tuple(rows), "Agreement of networks")


def _mean(
    pairs: Sequence[Mapping[str, Any]], networks: Sequence[Sequence[str]]
) -> tuple[float, float, float, int, int]:
    """Return the mean over pairs, both errors, the fewest trainings of one of the networks, the number of pairs."""
    value = fmean(row["value"] for row in pairs)
    square = 0.0
    for trainings in networks:
        kept = [[row["value"] for row in pairs if name not in (row["first"], row["second"])] for name in trainings]
        moved = [fmean(one) - value if one else math.nan for one in kept]
        square += (len(trainings) - 1) / len(trainings) * sum(one**2 for one in moved)
    return value, max(row["error"] for row in pairs), math.sqrt(square), min(map(len, networks)), len(pairs)


def varies(findings: Findings, analysis: str, below: float = _SUBSTANTIAL) -> Verdict:
    """Judge that each two networks agree by less than a bound, and by less than two trainings of either agree."""
    found = {(row["first"], row["second"]): _contrast(row) for row in findings.analyses[analysis]}
    judged: list[Judged] = []
    for (first, second), between in found.items():
        if first != second:
            alone = [found[name, name] for name in (first, second) if (name, name) in found]
            judged += [Within(between, below=below), *(Within(_difference(between, one), below=0.0) for one in alone)]
    return Verdict(outcome_of(judged), "; ".join(map(str, found.values())))


def _contrast(row: Mapping[str, Any]) -> Contrast:
    where = f"{row['first']}, {row['second']}"
    return with_errors(where, row["correlation"], row["image_error"], row["training_error"], row["trainings"])


def _difference(one: Contrast, other: Contrast) -> Contrast:
    """Return by how much one agreement exceeds another, as if their errors were independent."""
    over_images = math.hypot(one.image_error, other.image_error)
    over_trainings = math.hypot(one.training_error, other.training_error)
    trainings = min(one.trainings, other.trainings)
    return with_errors("", one.value - other.value, over_images, over_trainings, trainings)
