"""Whether a metric tells explanations from maps that explain nothing."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.statistics.aggregates import compared, of_setting, ranking_metrics, signed_means
from lightning_xai.comparison.statistics.statistics import mean_interval

if TYPE_CHECKING:
    from lightning_xai.comparison.statistics.table_content import TableContent

_COLUMNS = ("model", "data", "transform", "target", "metric", "probability", "low", "high", "marked", "why")


def verdicts(table: TableContent) -> Records:
    """See `ComparisonTable.verdicts`."""
    rows = [
        (*of_setting(setting), metric, *_verdict(table, setting, metric))
        for setting in table.settings
        for metric in ranking_metrics(table)
        if any(table.of(setting, explainer, metric) for explainer in compared(table, controls=False))
    ]
    return Records(_COLUMNS, tuple(rows), "Does a metric tell explanations from controls?")


def marked(table: TableContent, setting: Setting, metric: str) -> str:
    """Return why a metric should not be trusted in a setting; nothing if there is no reason."""
    return str(_verdict(table, setting, metric)[-1]) if metric in ranking_metrics(table) else ""


def _verdict(table: TableContent, setting: Setting, metric: str) -> tuple[Any, ...]:
    shares = _shares(table, setting, metric)
    shares = shares[~shares.isnan()]
    if not len(shares):
        return math.nan, math.nan, math.nan, True, "no image is defined for an explainer and a control"
    low, high = mean_interval(shares)
    reasons = [] if low > 0.5 else ["no better than the controls"]
    fooling = _fooling(table, setting, metric)
    reasons += [f"fooled by {', '.join(fooling)}"] if fooling else []
    return float(shares.mean()), low, high, bool(reasons), "; ".join(reasons)


def _shares(table: TableContent, setting: Setting, metric: str) -> Tensor:
    """Return the share of pairs, a real explainer and a control, in which the explainer is better, per image (N,)."""
    score = table.metrics[metric]
    wins = []
    for explainer, control in product(compared(table, controls=False), table.controls):
        own, other = table.of(setting, explainer, metric), table.of(setting, control, metric)
        if own is not None and other is not None:
            gained = (score.per_image(own.rows) - score.per_image(other.rows)).double()
            gained = gained if score.higher_is_better else -gained
            wins.append(torch.where(gained.isnan(), torch.nan, (gained.sign() + 1) / 2))
    return torch.stack(wins).nanmean(0) if wins else torch.empty(0, dtype=torch.float64)


def _fooling(table: TableContent, setting: Setting, metric: str) -> list[str]:
    """Return the controls whose means are better than those of at least half of the real explainers."""
    real = [v for v in signed_means(table, setting, metric, compared(table, controls=False)) if not math.isnan(v)]
    controls = zip(table.controls, signed_means(table, setting, metric, table.controls), strict=True)
    return [name for name, value in controls if real and sum(value > other for other in real) >= len(real) / 2]
