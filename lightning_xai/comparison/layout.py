"""A table per setting as a reader wants it: explainers by metrics, and below what has to be known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_xai._settings import in_words, unlike_defaults
from lightning_xai.comparison.cell import Failure, Setting
from lightning_xai.comparison.records import Entry, Records, shown
from lightning_xai.comparison.statistics.aggregates import MEAN_RANK, compared, found_metrics, ranks_in, signed_means
from lightning_xai.comparison.statistics.verdict import marked
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.model.readout import Readout

if TYPE_CHECKING:
    from lightning_xai.comparison.statistics.table_content import TableContent

_ARROWS = {True: " ↑", False: " ↓", None: ""}


def pages(table: TableContent) -> list[Records]:
    """Return a table per setting; the last one says with which settings all of them were computed."""
    found = [_page(table, setting) for setting in table.settings]
    return [*found, _settings(table)]


def _page(table: TableContent, setting: Setting) -> Records:
    metrics = found_metrics(table, setting)
    reasons = {name: marked(table, setting, name) for name in metrics}
    ranks = ranks_in(table, setting, controls=True)
    best = {name: _best(table, setting, name) for name in metrics}
    rows = []
    for explainer in table.explainers:
        name = f"{explainer} (control)" if explainer in table.controls else explainer
        entries = [_entry(table, setting, explainer, metric, best[metric]) for metric in metrics]
        rows.append((name, *entries, Entry(shown(ranks.get((explainer, MEAN_RANK), math.nan)))))
    heads = [
        f"{name}{_ARROWS[table.metrics[name].higher_is_better]}{' †' if reasons[name] else ''}" for name in metrics
    ]
    return Records(
        ("explainer", *heads, MEAN_RANK), tuple(rows), str(setting), tuple(_notes(table, setting, metrics, reasons))
    )


def _best(table: TableContent, setting: Setting, metric: str) -> float:
    """Return the best mean of the real explainers, so that higher is better; NaN if the metric has no direction."""
    if table.metrics[metric].higher_is_better is None:
        return math.nan
    names = compared(table, controls=False)
    known = [v for v in signed_means(table, setting, metric, names) if not math.isnan(v)]
    return max(known, default=math.nan)


def _entry(table: TableContent, setting: Setting, explainer: str, metric: str, best: float) -> Entry:
    estimate = table.estimate(setting, explainer, metric)
    if math.isnan(estimate.value):
        return Entry("–")
    error = "" if math.isnan(estimate.error) else f" ± {shown(estimate.error)}"
    undefined = f" ({estimate.undefined})" if estimate.undefined else ""
    (own,) = signed_means(table, setting, metric, [explainer])  # of equal methods that of the first
    is_best = explainer not in table.controls and own == best
    return Entry(f"{shown(estimate.value)}{error}{undefined}", is_best)


def _notes(table: TableContent, setting: Setting, metrics: list[str], reasons: dict[str, str]) -> list[str]:
    counts = {len(found.rows) for (cell, _), found in table.values.items() if cell.setting == setting}
    images = " or ".join(map(str, sorted(counts)))
    notes = [
        f"Value ± standard error over {images} images, in brackets how many of them are undefined; mean rank over the "
        "metrics with an arrow, controls included."
    ]
    notes += [f"† {name}: {reasons[name]}." for name in metrics if reasons[name]]
    notes += [f"{' = '.join(group)}: one method here, with equal heatmaps." for group in table.equal_methods(setting)]
    failed = [failure for failure in table.failures if failure.cell.setting == setting]
    of_all = {(f.metric, f.reason) for f in failed if not f.is_error}
    notes += [f"{remark}." for remark in table.remarks.get((setting.data, setting.transform), ())]
    notes += [f"{metric}: left out, because {reason}." for metric, reason in sorted(of_all)]
    return [*notes, *_errors([failure for failure in failed if failure.is_error])]


def _errors(failures: list[Failure]) -> list[str]:
    """Return a line for each set of metrics that failed together: for which explainers, and the first reason."""
    of_explainer: dict[str, list[Failure]] = {}
    for failure in failures:
        of_explainer.setdefault(failure.cell.explainer, []).append(failure)
    together: dict[tuple[str, ...], list[str]] = {}
    for explainer, own in of_explainer.items():
        together.setdefault(tuple(failure.metric for failure in own), []).append(explainer)
    return [
        f"{', '.join(metrics)} failed for {', '.join(explainers)}: {of_explainer[explainers[0]][0].reason}"
        for metrics, explainers in together.items()
    ]


def _settings(table: TableContent) -> Records:
    """Return every setting that decided a number, and which of them are not the defaults."""
    named = {**table.explainers_by_name, **table.metrics}
    rows = [(name, repr(one), ", ".join(unlike_defaults(one)) or None) for name, one in named.items()]
    for name, transform in table.transforms.items():
        if transform is not None:
            changed = ", ".join(unlike_defaults(transform)) if isinstance(transform, Transform) else ""
            rows.append((name, in_words(transform), changed or None))
    notes = (
        "Under what is not the default stands what was set otherwise, or has no default.",
        f"{table.readout or Readout()!r}; seed={table.seed} of the random control and of random transforms.",
    )
    return Records(("name", "settings", "not the default"), tuple(rows), "Settings", notes)
