"""From values per image to means, paired differences, ranks, correlations, ties and costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.results import ImageFacts, same_method
from lightning_xai.comparison.statistics.statistics import Correlation, bootstrap, correlation, holm, ranks_of, wilcoxon
from lightning_xai.metrics.estimate import standard_error, undefined_rows
from lightning_xai.metrics.metric import ExplanationMetric

if TYPE_CHECKING:
    from lightning_xai.comparison.statistics.table_content import TableContent

_OF_SETTING = ("model", "data", "transform", "target")
MEAN_RANK = "mean rank"
_NO_ENDS = [math.nan] * 3
_FIELDS = {"models": "model", "data": "data", "transforms": "transform", "targets": "target"}


def of_setting(setting: Setting) -> tuple[Any, ...]:
    """Return the columns that name a setting."""
    return setting.model, setting.data, setting.transform, setting.target


def means(table: TableContent) -> Records:
    """See `ComparisonTable.mean`."""
    rows = []
    for (cell, metric), found in table.values.items():
        estimate = table.estimate(cell.setting, cell.explainer, metric)
        numbers = (estimate.value, estimate.error, estimate.undefined, len(found.rows))
        rows.append((*of_setting(cell.setting), cell.explainer, metric, *numbers))
    columns = (*_OF_SETTING, "explainer", "metric", "value", "error", "undefined", "images")
    return Records(columns, tuple(rows), "Means")


def spreads(table: TableContent) -> Records:
    """See `ComparisonTable.spread`."""
    rows = []
    for (cell, metric), found in table.values.items():
        values = table.metrics[metric].per_image(found.rows).double()
        values = values[~values.isnan()]
        ends = values.quantile(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)).tolist() if len(values) else _NO_ENDS
        deviation = float(values.std()) if len(values) > 1 else math.nan
        rows.append((*of_setting(cell.setting), cell.explainer, metric, deviation, *ends, len(values)))
    columns = (*_OF_SETTING, "explainer", "metric", "std", "min", "median", "max", "images")
    return Records(columns, tuple(rows), "Spread over images")


def accuracies(table: TableContent) -> Records:
    """See `ComparisonTable.accuracy`."""
    facts: dict[tuple[Any, ...], ImageFacts] = {}
    for (cell, _), found in table.values.items():
        facts.setdefault(of_setting(cell.setting)[:3], found.facts)
    rows = []
    for place, known in facts.items():
        right = (known.predicted == known.labels)[known.labels >= 0].double()
        value = float(right.mean()) if len(right) else math.nan
        rows.append((*place, value, float(standard_error(right)), len(right)))
    return Records((*_OF_SETTING[:3], "value", "error", "images"), tuple(rows), "Accuracy of the models")


def differences(table: TableContent, references: Sequence[str]) -> Records:
    """See `ComparisonTable.difference`."""
    rows = [
        row
        for setting in table.settings
        for metric in table.metrics
        for reference in references
        for row in _compared(table, setting, metric, reference)
    ]
    columns = (*_OF_SETTING, "metric", "to", "explainer", "value", "error", "low", "high", "p", "p_holm", "better")
    return Records((*columns, "images"), tuple(rows), f"Paired differences to {', '.join(references)}")


def _compared(table: TableContent, setting: Setting, name: str, reference: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of all explainers beside one, by one metric in one setting."""
    metric, base = table.metrics[name], table.of(setting, reference, name)
    others = [one for one in table.explainers if one != reference and table.of(setting, one, name) is not None]
    if base is None:
        return
    compared = [_difference(metric, table.values[Cell(setting, one), name].rows, base.rows) for one in others]
    corrected = holm([found["p"] for found in compared])
    for explainer, found, p_holm in zip(others, compared, corrected, strict=True):
        ends = found["low"], found["high"]
        numbers = (found["value"], found["error"], *ends, found["p"], p_holm, found["better"], found["images"])
        yield (*of_setting(setting), name, reference, explainer, *numbers)


def _difference(metric: ExplanationMetric, rows: Tensor, others: Tensor) -> dict[str, Any]:
    estimate = metric.difference(rows, others)
    defined = ~(undefined_rows(rows) | undefined_rows(others))
    first, second = rows[defined], others[defined]
    low, high = bootstrap(len(first), lambda places: _resampled(metric, first, second, places))
    direction = metric.higher_is_better
    decided = direction is not None and estimate.value == estimate.value and estimate.value != 0
    return {
        "value": estimate.value,
        "error": estimate.error,
        "low": low,
        "high": high,
        "p": wilcoxon(metric.per_image(first) - metric.per_image(second)),
        "better": (estimate.value > 0) is direction if decided else None,
        "images": len(first),
    }


def _resampled(metric: ExplanationMetric, first: Tensor, second: Tensor, places: Tensor) -> Tensor:
    """Return the difference of a metric's values on images drawn with replacement, (B,)."""
    if first.ndim == 1 and type(metric).aggregate is ExplanationMetric.aggregate:
        return (first.double() - second.double())[places].mean(1)
    return torch.stack([metric.aggregate(first[drawn]) - metric.aggregate(second[drawn]) for drawn in places])


def signed_means(table: TableContent, setting: Setting, metric: str, explainers: Sequence[str]) -> list[float]:
    """Return the means of explainers by a metric, so that higher is better; of equal methods that of the first."""
    sign = 1.0 if table.metrics[metric].higher_is_better else -1.0
    first = {name: group[0] for group in table.equal_methods(setting) for name in group}
    found = []
    for explainer in explainers:
        value = table.estimate(setting, explainer, metric).value
        of_first = table.estimate(setting, first.get(explainer, explainer), metric).value
        found.append(sign * (value if math.isnan(of_first) or math.isnan(value) else of_first))
    return found


def ranking_metrics(table: TableContent) -> list[str]:
    """Return the metrics that have a direction."""
    return [name for name, metric in table.metrics.items() if metric.higher_is_better is not None]


def found_metrics(table: TableContent, setting: Setting) -> list[str]:
    """Return the metrics of which some explainer has values in a setting."""
    return [name for name in table.metrics if any(table.of(setting, one, name) for one in table.explainers)]


def compared(table: TableContent, *, controls: bool) -> list[str]:
    """Return the names of the explainers, with or without the controls."""
    return [name for name in table.explainers if controls or name not in table.controls]


def ranks(table: TableContent, *, controls: bool) -> Records:
    """See `ComparisonTable.ranks`."""
    rows = [
        (*of_setting(setting), explainer, metric, rank)
        for setting in table.settings
        for (explainer, metric), rank in ranks_in(table, setting, controls=controls).items()
    ]
    return Records((*_OF_SETTING, "explainer", "metric", "rank"), tuple(rows), "Ranks")


def ranks_in(table: TableContent, setting: Setting, *, controls: bool) -> dict[tuple[str, str], float]:
    """Return (explainer, metric) -> rank in a setting; of the metric `MEAN_RANK` the mean over all others."""
    names = compared(table, controls=controls)
    found: dict[tuple[str, str], float] = {}
    for metric in ranking_metrics(table):
        of_metric = ranks_of(signed_means(table, setting, metric, names))
        found |= {(n, metric): rank for n, rank in zip(names, of_metric, strict=True) if not math.isnan(rank)}
    for name in names:
        own = [rank for (explainer, _), rank in found.items() if explainer == name]
        if own:
            found[name, MEAN_RANK] = sum(own) / len(own)
    return found


def correlations(table: TableContent, between: str, how: Correlation, *, controls: bool) -> Records:
    """See `ComparisonTable.correlations`."""
    names = compared(table, controls=controls)
    columns = (*_OF_SETTING, "metric", "first", "second", "correlation", "p", "explainers")
    pairs = _pairs_of_metrics(table) if between == "metrics" else _pairs_of_settings(table, _FIELDS[between])
    rows = []
    for labels, first, second in pairs:
        in_both = repeated(table, first[0]) & repeated(table, second[0])
        once = [name for name in names if name not in in_both]
        numbers = correlation(signed_means(table, *first, once), signed_means(table, *second, once), how)
        rows.append((*labels, *numbers))
    return Records(columns, tuple(rows), f"{how.capitalize()} correlations between {between}, over explainers")


def repeated(table: TableContent, setting: Setting) -> set[str]:
    """Return the explainers that are one method with an earlier one."""
    return {name for group in table.equal_methods(setting) for name in group[1:]}


_Place = tuple[Setting, str]
_Pair = tuple[tuple[Any, ...], _Place, _Place]


def _pairs_of_metrics(table: TableContent) -> Iterator[_Pair]:
    for setting in table.settings:
        for first, second in combinations(ranking_metrics(table), 2):
            yield (*of_setting(setting), "", first, second), (setting, first), (setting, second)


def _pairs_of_settings(table: TableContent, field: str) -> Iterator[_Pair]:
    """Yield pairs of settings that differ in one thing alone, for each metric."""
    place = _OF_SETTING.index(field)
    for first, second in combinations(table.settings, 2):
        one, other = of_setting(first), of_setting(second)
        if one[place] != other[place] and one[:place] + one[place + 1 :] == other[:place] + other[place + 1 :]:
            labels = (*one[:place], "", *one[place + 1 :])
            for metric in ranking_metrics(table):
                yield (*labels, metric, str(one[place]), str(other[place])), (first, metric), (second, metric)


def ties(table: TableContent) -> Records:
    """See `ComparisonTable.ties`."""
    rows = [
        (*of_setting(setting), " = ".join(group))
        for setting in table.settings
        for group in table.equal_methods(setting)
    ]
    return Records((*_OF_SETTING, "explainers"), tuple(rows), "Explainers that are one method")


def equal_methods(table: TableContent, setting: Setting) -> list[list[str]]:
    """Return the groups of explainers with equal heatmaps in a setting."""
    groups: list[list[str]] = []
    for name in table.explainers:
        own = table.heatmaps.get(Cell(setting, name))
        if own is None:
            continue
        equal = (group for group in groups if same_method(own, table.heatmaps[Cell(setting, group[0])]))
        group = next(equal, None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return [group for group in groups if len(group) > 1]


def costs(table: TableContent) -> Records:
    """See `ComparisonTable.costs`."""
    rows: list[tuple[Any, ...]] = []
    for cell, found in table.heatmaps.items():
        count = len(found.signature)
        where = (*of_setting(cell.setting), cell.explainer)
        rows.append((*where, "explaining", found.evaluations / count, found.seconds / count))
        for metric in table.metrics:
            scored = table.values.get((cell, metric))
            if scored is not None:
                rows.append((*where, metric, scored.evaluations / count, scored.seconds / count))
    return Records((*_OF_SETTING, "explainer", "what", "evaluations", "seconds"), tuple(rows), "Costs per image")
