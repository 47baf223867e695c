"""By how much one explainer, or one network, is better than another, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_xai.comparison.cell import NO_TRANSFORM, Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.metrics.estimate import undefined_rows
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast, combined


def groups_of(findings: Findings, part: str, **equal: object) -> dict[str, list[Setting]]:
    """Return the settings of a part that differ by the seed of training alone, by what they share.

    Args:
        findings: Of a study.
        part: Its name.
        **equal: ``model`` (its group), ``data``, ``transform`` or ``target`` that settings must have.
    """
    found: dict[str, list[Setting]] = {}
    for setting in findings.part(part).settings:
        shared = {
            "model": findings.group(setting.model),
            "data": setting.data,
            "transform": setting.transform,
            "target": setting.target,
        }
        if all(shared[name] in _several(value) for name, value in equal.items()):
            words = [str(word) for name, word in shared.items() if (name, word) != ("transform", NO_TRANSFORM)]
            found.setdefault(" · ".join(words), []).append(setting)
    return found


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else [value]


def contrasts(
    findings: Findings, part: str, metric: str, explainer: str, than: str, **equal: object
) -> Iterator[Contrast]:
    """Yield how much better one explainer is than another by a metric, for each group of settings: see `combined`."""
    table = findings.part(part)
    for where, settings in groups_of(findings, part, **equal).items():
        rows = [found for one in settings if (found := gained(table, one, metric, explainer, than)) is not None]
        if rows:
            yield combined(where, rows)


def contrast_of_networks(
    findings: Findings, part: str, metric: str, explainer: str, model: str, than: str, **equal: object
) -> Iterator[Contrast]:
    """Yield how much better an explainer does on one network than on another, paired by the images that both explain.

    Trainings are paired in their order. Rows are those of groups that differ in nothing but the network.
    """
    table = findings.part(part)
    own = groups_of(findings, part, model=model, **equal)
    other = groups_of(findings, part, model=than, **equal)
    for (where, settings), references in zip(own.items(), other.values(), strict=True):
        pairs = zip(settings, references, strict=False)
        rows = [gain for one, two in pairs if (gain := _paired(table, (one, two), metric, explainer)) is not None]
        if rows:
            yield combined(f"{where}, than {than}", rows)


def _paired(table: ComparisonTable, settings: tuple[Setting, Setting], metric: str, explainer: str) -> Tensor | None:
    own, other = (table.of(setting, explainer, metric) for setting in settings)
    return None if own is None or other is None else _gain(table.metrics[metric], own.rows, other.rows)


def gained(table: ComparisonTable, setting: Setting, metric: str, explainer: str, than: str) -> Tensor | None:
    """Return by how much an explainer is better than another, float64 (n,), NaN for images undefined in either."""
    own, other = table.of(setting, explainer, metric), table.of(setting, than, metric)
    if own is None or other is None:
        return None
    return _gain(table.metrics[metric], own.rows, other.rows)


def _gain(metric: ExplanationMetric, rows: Tensor, others: Tensor) -> Tensor:
    defined = ~(undefined_rows(rows) | undefined_rows(others))
    gain = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    gain[defined] = metric.per_image(rows[defined]).double() - metric.per_image(others[defined]).double()
    return gain if metric.higher_is_better else -gain
