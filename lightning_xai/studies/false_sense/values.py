"""Values of several explainers on the same images, and their means over images that are drawn again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.gains import groups_of


def values_of(
    table: ComparisonTable, setting: Setting, metric: str, explainers: Sequence[str], *, oriented: bool = True
) -> Tensor:
    """Return the values of a metric, float64 (E, n), NaN where there is none; if ``oriented``, higher is better."""
    score = table.metrics[metric]
    found = [table.of(setting, one, metric) for one in explainers]
    known = [None if one is None else score.per_image(one.rows).double() for one in found]
    count = max((len(one) for one in known if one is not None), default=0)
    rows = [torch.full((count,), torch.nan, dtype=torch.float64) if one is None else one for one in known]
    sign = -1.0 if oriented and score.higher_is_better is False else 1.0
    return sign * torch.stack(rows)


def resampled_means(values: Tensor, places: Tensor) -> Tensor:
    """Return the means over drawn images, (..., B), of values (..., n) at places (B, n); undefined ones are left out.

    Example:
        >>> resampled_means(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([[0, 1, 2], [0, 0, 1]]))
        tensor([[2.0000, 1.6667]])
    """
    drawn = torch.zeros(places.shape, dtype=values.dtype).scatter_add_(
        1, places, torch.ones(places.shape, dtype=values.dtype)
    )
    defined = (~values.isnan()).to(values.dtype)
    return (values.nan_to_num(0.0) @ drawn.T) / (defined @ drawn.T)


def by_transform(findings: Findings, part: str, **equal: object) -> Iterator[tuple[str, list[dict[str, Setting]]]]:
    """Yield what settings share beside the transform and the seed; and of each training transform -> setting."""
    together: dict[str, dict[str, dict[str, Setting]]] = {}
    for settings in groups_of(findings, part, **equal).values():
        for one in settings:
            where = " · ".join((findings.group(one.model), one.data, str(one.target)))
            together.setdefault(where, {}).setdefault(one.model, {})[one.transform] = one
    for where, models in together.items():
        yield where, list(models.values())


def means_by_family(
    table: ComparisonTable,
    settings: Mapping[str, Setting],
    metric: str,
    explainers: Sequence[str],
    families: Mapping[str, Sequence[str]],
) -> Tensor:
    """Return values (F, E, n): means over the transforms of each family, of a metric in its own direction."""
    rows = [
        torch.stack([values_of(table, settings[name], metric, explainers, oriented=False) for name in names]).nanmean(0)
        for names in families.values()
    ]
    return torch.stack(rows)
