"""Claims about families of methods: gradients, class activation maps, occlusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.false_sense.values import resampled_means, values_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import combined, resampled
from lightning_xai.studies.judging.gains import groups_of
from lightning_xai.studies.judging.verdict import verdict_of


def family_ahead(
    findings: Findings,
    part: str,
    metric: Sequence[str],
    family: Sequence[str],
    than: Sequence[str],
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that the mean of some methods is better than that of others, image by image, by each metric."""
    table, found = findings.part(part), []
    for name in metric:
        for where, settings in groups_of(findings, part, **equal).items():
            gains = []
            for one in settings:
                own, other = values_of(table, one, name, family), values_of(table, one, name, than)
                gains.append(own.nanmean(0) - other.nanmean(0))
            found.append((name, combined(where, gains)))
    return verdict_of(found, f"mean of {', '.join(family)} above that of {', '.join(than)}", share)


def best_family(
    findings: Findings,
    part: str,
    metric: Sequence[str],
    family: Sequence[str],
    others: Mapping[str, Sequence[str]],
    **equal: Any,
) -> Verdict:
    """Judge that the mean rank of a family, over its methods and over metrics, is better than that of each other one.

    All methods of all families are ranked by each metric; the intervals are over images that are drawn again.
    """
    table, found = findings.part(part), []
    names = [*family, *(name for one in others.values() for name in one)]
    for title, other in others.items():
        for where, settings in groups_of(findings, part, **equal).items():
            trainings = []
            for one in settings:
                values = torch.stack([values_of(table, one, name, names) for name in metric])
                lead = partial(_lead, values, [names.index(n) for n in family], [names.index(n) for n in other])
                trainings.append((values.shape[2], lead))
            found.append((f"ranks ahead of {title}", resampled(where, trainings)))
    return verdict_of(found, f"{', '.join(family)} have the best mean rank by {', '.join(metric)}")


def _lead(values: Tensor, family: Sequence[int], other: Sequence[int], places: Tensor) -> Tensor:
    """Return by how many ranks a family is ahead of another, (B,), from values (M, E, n)."""
    ranks = ranks_among(resampled_means(values, places)).nanmean(0)
    return ranks[list(other)].nanmean(0) - ranks[list(family)].nanmean(0)


def ranks_among(means: Tensor) -> Tensor:
    """Return ranks, 1 for the greatest, along the second axis of means (M, E, B); equal ones share, NaN has none.

    Example:
        >>> ranks_among(torch.tensor([[[5.0], [7.0], [5.0], [torch.nan]]])).flatten()
        tensor([2.5000, 1.0000, 2.5000,    nan])
    """
    greater = (means[:, None] > means[:, :, None]).sum(2)
    equal = (means[:, None] == means[:, :, None]).sum(2)
    return torch.where(means.isnan(), torch.nan, greater + (equal + 1) / 2)
