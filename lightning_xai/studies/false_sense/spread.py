"""Claims about how much metrics tell methods apart, and how much transforms of the images move them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.false_sense.values import by_transform, means_by_family, resampled_means, values_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast, resampled
from lightning_xai.studies.judging.gains import groups_of
from lightning_xai.studies.judging.verdict import verdict_of


def alike(
    findings: Findings,
    part: str,
    metric: Sequence[str],
    explainers: Sequence[str],
    within: float = 0.1,
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that a metric gives most methods similar values.

    The middle half of the methods' means spans less than ``within`` of their median: what is judged is the bound less
    this span.
    """
    table, found = findings.part(part), []
    for name in metric:
        for where, settings in groups_of(findings, part, **equal).items():
            trainings = []
            for one in settings:
                values = values_of(table, one, name, explainers, oriented=False)
                trainings.append((values.shape[1], partial(_closeness, values, within)))
            found.append((name, resampled(where, trainings)))
    return verdict_of(found, f"{within:g} less (Q3 − Q1) / median of the means of {', '.join(explainers)}", share)


def _closeness(values: Tensor, within: float, places: Tensor) -> Tensor:
    return within - relative_quartile_range(resampled_means(values, places))


def relative_quartile_range(means: Tensor) -> Tensor:
    """Return (Q3 − Q1) / |median| over the first axis of means (E, B), (B,); of a median of 0 it is infinite or NaN.

    Example:
        >>> relative_quartile_range(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]))
        tensor([0.6667])
    """
    ends = torch.tensor([0.25, 0.5, 0.75], dtype=means.dtype)
    quartiles: Tensor = means.nanquantile(ends, dim=0)
    return (quartiles[2] - quartiles[0]) / quartiles[1].abs()


def varies_more(
    findings: Findings,
    part: str,
    metric: Sequence[str],
    explainers: Sequence[str],
    than: Sequence[str],
    transforms: Mapping[str, Sequence[str]],
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that transforms move some methods more than others.

    A method's values are means over the strengths of each kind of transform; their standard deviation over the kinds
    is its movement, and the mean over the methods counts.

    Args:
        findings: Of a study.
        part: Its name.
        metric: Several.
        explainers: Those that are moved more.
        than: Those that are moved less.
        transforms: Kind -> names of its transforms.
        share: Of all metrics and networks.
        **equal: See `groups_of`.
    """
    table, found, names = findings.part(part), [], [*explainers, *than]
    for name in metric:
        for where, models in by_transform(findings, part, **equal):
            trainings = []
            for settings in models:
                values = means_by_family(table, settings, name, names, transforms)
                trainings.append((values.shape[2], partial(_extra_movement, values, len(explainers))))
            found.append((name, resampled(where, trainings)))
    return verdict_of(found, f"movement of {', '.join(explainers)} less that of {', '.join(than)}", share)


def _extra_movement(values: Tensor, first: int, places: Tensor) -> Tensor:
    moved = movement(resampled_means(values, places))
    return moved[:first].nanmean(0) - moved[first:].nanmean(0)


def movement(means: Tensor) -> Tensor:
    """Return the standard deviation over kinds of transforms, (E, B), of means (F, E, B)."""
    return means.std(0)


def steadiest(
    findings: Findings,
    part: str,
    metric: str,
    than: Sequence[str],
    explainers: Sequence[str],
    transforms: Mapping[str, Sequence[str]],
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that transforms move a metric less than each of others, in points of 100 of the metric's range.

    The movement of a metric is the mean over methods of what `varies_more` calls movement.
    """
    found: list[tuple[str, Contrast]] = []
    table = findings.part(part)
    for other in than:
        for where, models in by_transform(findings, part, **equal):
            trainings = []
            for settings in models:
                pair = [
                    _in_points(table, name) * means_by_family(table, settings, name, explainers, transforms)
                    for name in (other, metric)
                ]
                trainings.append((pair[0].shape[2], partial(_extra_movement_of_metric, *pair)))
            found.append((f"{other} − {metric}", resampled(where, trainings)))
    return verdict_of(found, f"movement in points, mean over {', '.join(explainers)}", share)


def _in_points(table: ComparisonTable, metric: str) -> float:
    low, high = table.metrics[metric].range
    return 100.0 / (high - low)


def _extra_movement_of_metric(other: Tensor, own: Tensor, places: Tensor) -> Tensor:
    moved = [movement(resampled_means(values, places)).nanmean(0) for values in (other, own)]
    return moved[0] - moved[1]
