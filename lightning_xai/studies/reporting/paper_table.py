"""A table in the layout of a paper: our numbers, the paper's, and the difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.statistics.aggregates import costs
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.metrics.estimate import Estimate, undefined_rows
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.reporting.printed import PrintedTable, beside, faults, legend

Statistic = Literal["mean", "std", "min", "max", "evaluations", "seconds"]
Axis = Literal["model", "data", "transform", "target", "explainer", "metric", "statistic"]
_AXES = ("model", "data", "transform", "target", "explainer", "metric", "statistic")
_OF_SETTING = ("data", "transform", "target")
_POOLED = ("data", "transform")
_STATISTICS = ("mean", "std", "min", "max", "evaluations", "seconds")
Place = Mapping[str, str]
BETWEEN = " · "
"""Stands between the words of a row, or of a column, that crosses several axes."""


@dataclass(frozen=True)
class PaperTable:
    """How a table of a paper is laid out.

    Attributes:
        name: Such as ``table_5``.
        title: What it shows, with the direction of its numbers.
        part: The comparison whose values it shows.
        rows: Axes whose values are the rows; several are crossed.
        columns: Axes whose values are the columns. Axes that are named nowhere have to have one value.
        chosen: Axis -> names of its values in the table's order, or a mapping of these to the paper's words; all that
            there are if left out. Networks go by their group: trainings with several seeds are one. Data, or
            transforms, with the same words are one place: the mean over them, with the mean of their errors, because
            they may be of the same images.
        factor: Our numbers are multiplied by it, as the paper prints them.
        offset: And then added to it: 100 and a factor of −100 print 100 − 100·x.
        decimals: As the paper prints them.
        units: Metric -> its own ``factor``, ``offset`` and ``decimals``, where a table mixes units.
        mean_of_paper: Where the paper has no such network, whether to show the mean over its own beside ours.
        notes: Stand below it.
        printed: Whose numbers of the paper stand beside ours, if not those of its own name.
    """

    name: str
    title: str
    part: str
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    chosen: Mapping[str, Any] = field(default_factory=dict)
    factor: float = 1.0
    offset: float = 0.0
    decimals: int = 3
    units: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    mean_of_paper: bool = False
    notes: tuple[str, ...] = ()
    printed: str = ""

    def __post_init__(self) -> None:
        """Check the axes."""
        for name in ("rows", "columns", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for axis in (*self.rows, *self.columns, *self.chosen):
            check_choice(axis, _AXES, f"an axis of {self.name}")
        for unit in self.units.values():
            for one in unit:
                check_choice(one, ("factor", "offset", "decimals"), f"units of {self.name}")

    def filled(self, findings: Findings, printed: PrintedTable) -> Records:
        """Return the table: ``ours ± SE | paper | Δ`` in each cell, – where there is none."""
        table = findings.part(self.part)
        values = {axis: self._values(axis, findings, table) for axis in _AXES}
        self._check_axes(values, findings, table)
        rows, shown = [], []
        for row in _crossed(self.rows, values):
            entries = []
            for column in _crossed(self.columns, values):
                place = {axis: next(iter(values[axis])) for axis in _AXES if len(values[axis]) == 1}
                place |= {"statistic": next(iter(values["statistic"])), **dict(row), **dict(column)}
                shown.append(names := (_words(row, values), _words(column, values)))
                ours = self._ours(findings, table, place)
                paper, is_mean = self._paper(printed, *names)
                decimals = self._unit(place["metric"])[2]
                entries.append(beside(ours, paper if printed else None, decimals, is_mean=is_mean))
            rows.append((_words(row, values), *entries))
        heads = [_words(column, values) + self._arrow(table, column) for column in _crossed(self.columns, values)]
        notes = (legend(printed), *self.notes, *faults(self._of_shown(printed, shown)))
        return Records((BETWEEN.join(self.rows), *heads), tuple(rows), f"{self.name}: {self.title}", notes)

    def _of_shown(self, printed: PrintedTable, shown: Sequence[tuple[str, str]]) -> PrintedTable:
        """Return the paper's numbers that stand in the table, also in a mean over its networks."""
        kinds = [self._but_the_network(*place) for place in shown] if self.mean_of_paper else []
        return {
            place: one for place, one in printed.items() if place in shown or self._but_the_network(*place) in kinds
        }

    @property
    def reads(self) -> frozenset[str]:
        """Name of the comparison that it reads."""
        return frozenset({self.part})

    def _check_axes(self, values: Mapping[str, Mapping[str, str]], findings: Findings, table: ComparisonTable) -> None:
        """Raise ValueError if a number of the table would be of several values of an axis that it does not show."""
        for axis in set(_AXES) - {*self.rows, *self.columns, "statistic"}:
            of_model: dict[str, set[str]] = {}
            for setting in table.settings:
                of_model.setdefault(findings.group(setting.model), set()).add(str(getattr(setting, axis, axis)))
            follows_model = axis in _OF_SETTING and "model" in (*self.rows, *self.columns)
            if len(values[axis]) > 1 and not (follows_model and all(len(one) == 1 for one in of_model.values())):
                raise ValueError(
                    f"Expected {self.name} to have `{axis}` among its rows or columns, or one in `chosen`, because "
                    f"part {self.part!r} has several: {', '.join(values[axis])}."
                )

    def _arrow(self, table: ComparisonTable, column: Sequence[tuple[str, str]]) -> str:
        """Return the direction of a column's metric; a negative factor turns it around."""
        metric = dict(column).get("metric")
        higher = None if metric is None else table.metrics[metric].higher_is_better
        if metric is None or higher is None or dict(column).get("statistic", "mean") != "mean":
            return ""
        return " ↑" if higher is (self._unit(metric)[0] > 0) else " ↓"

    def _unit(self, metric: str) -> tuple[float, float, int]:
        """Return factor, offset and decimals of a metric."""
        own = self.units.get(metric, {})
        factor, offset = own.get("factor", self.factor), own.get("offset", self.offset)
        return factor, offset, int(own.get("decimals", self.decimals))

    def _values(self, axis: str, findings: Findings, table: ComparisonTable) -> dict[str, str]:
        """Return the values of an axis, with the paper's words for them."""
        there: dict[str, Sequence[str]] = {
            "explainer": table.explainers,
            "metric": tuple(table.metrics),
            "statistic": ("mean",),
        }
        if axis in there:
            known = list(there[axis])
        else:
            found = [str(getattr(setting, axis)) for setting in table.settings]
            known = list(dict.fromkeys(findings.group(name) if axis == "model" else name for name in found))
        chosen = self.chosen.get(axis, known)
        named = dict(chosen) if isinstance(chosen, Mapping) else {str(name): str(name) for name in chosen}
        for name in named:
            check_choice(name, _STATISTICS if axis == "statistic" else known, f"{axis} of {self.name}")
        return named

    def _ours(self, findings: Findings, table: ComparisonTable, place: Place) -> Estimate:
        by_model: dict[str, list[tuple[float, float]]] = {}
        wanted = {axis: self._alike(axis, place[axis]) for axis in _OF_SETTING if axis in place}
        for one in table.settings:
            if findings.group(one.model) == place["model"] and all(
                str(getattr(one, axis)) in names for axis, names in wanted.items()
            ):
                found = _statistic(table, one, place["explainer"], place["metric"], place["statistic"])
                by_model.setdefault(one.model, []).extend([] if math.isnan(found[0]) else [found])
        known = [torch.tensor(found, dtype=torch.float64).mean(0) for found in by_model.values() if found]
        if not known:
            return Estimate(math.nan)
        values = torch.stack([one[0] for one in known])
        error = float(values.std()) / math.sqrt(len(known)) if len(known) > 1 else float(known[0][1])
        factor, offset, _ = self._unit(place["metric"])
        return Estimate(offset + factor * float(values.mean()), abs(factor) * error)

    def _alike(self, axis: str, name: str) -> set[str]:
        """Return the names that have the words of one."""
        chosen = self.chosen.get(axis)
        if axis not in _POOLED or not isinstance(chosen, Mapping) or name not in chosen:
            return {name}
        return {other for other, words in chosen.items() if words == chosen[name]}

    def _paper(self, printed: PrintedTable, row: str, column: str) -> tuple[float, bool]:
        """Return what the paper prints at a place, and whether that is the mean over its networks."""
        if (row, column) in printed:
            return printed[row, column].value, False
        if not self.mean_of_paper:
            return math.nan, False
        own = self._but_the_network(row, column)
        others = [one.value for place, one in printed.items() if self._but_the_network(*place) == own]
        known = [value for value in others if not math.isnan(value)]
        return (sum(known) / len(known), True) if known else (math.nan, False)

    def _but_the_network(self, row: str, column: str) -> list[tuple[str, str]]:
        """Return the words of a place for all axes but the model."""
        words = zip((*self.rows, *self.columns), (*row.split(BETWEEN), *column.split(BETWEEN)), strict=False)
        return [(axis, word) for axis, word in words if axis != "model"]


def _statistic(table: ComparisonTable, setting: Setting, explainer: str, metric: str, kind: str) -> tuple[float, float]:
    """Return a statistic of a metric's values in a cell, and its standard error where it has one."""
    if kind == "mean":
        estimate = table.estimate(setting, explainer, metric)
        return estimate.value, estimate.error
    if kind in {"evaluations", "seconds"}:
        rows = costs(table).where(model=setting.model, data=setting.data, transform=setting.transform)
        own = rows.where(target=setting.target, explainer=explainer, what="explaining")
        return (float(own[0][kind]) if len(own) else math.nan), math.nan
    found = table.of(setting, explainer, metric)
    if found is None:
        return math.nan, math.nan
    values = table.metrics[metric].per_image(found.rows[~undefined_rows(found.rows)]).double()
    return _spread(values, kind), math.nan


def _spread(values: Tensor, kind: str) -> float:
    if not len(values):
        return math.nan
    if kind == "std":
        return float(values.std()) if len(values) > 1 else math.nan
    return float(values.min() if kind == "min" else values.max())


def _crossed(axes: Sequence[str], values: Mapping[str, Mapping[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for names in product(*(_firsts(values[axis]) for axis in axes)):
        yield list(zip(axes, names, strict=True))


def _firsts(words_of: Mapping[str, str]) -> list[str]:
    """Return the first name with each words."""
    firsts: dict[str, str] = {}
    for name, words in words_of.items():
        firsts.setdefault(words, name)
    return list(firsts.values())


def _words(place: Sequence[tuple[str, str]], values: Mapping[str, Mapping[str, str]]) -> str:
    return BETWEEN.join(values[axis][name] for axis, name in place)
