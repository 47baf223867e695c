"""A table of a paper whose numbers are no cells of a comparison, such as means over several metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lightning_xai.comparison.models import imported
from lightning_xai.comparison.records import Records
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.reporting.printed import PrintedTable, beside, faults, legend

Numbers: TypeAlias = Mapping[str, Mapping[str, Estimate]]
"""Row -> column -> number, in the paper's words and unit."""

NumbersFunction: TypeAlias = Callable[..., Numbers]


@dataclass(frozen=True)
class DerivedTable:
    """A table of a paper whose numbers a function makes of the findings.

    Attributes:
        name: Such as ``table_10``.
        title: What it shows, with the direction of its numbers.
        function: Path of a function ``(findings, **arguments) -> Numbers``.
        arguments: Plain values.
        parts: Comparisons and analyses that it reads.
        decimals: As the paper prints them.
        mean_of_paper: Whether a row that the paper does not have gets the mean of its column, and a column that it does
            not have the mean of its row: for other networks than the paper's.
        notes: Stand below it.
        printed: See `PaperTable`.
    """

    name: str
    title: str
    function: str
    parts: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    decimals: int = 3
    mean_of_paper: bool = False
    notes: tuple[str, ...] = ()
    printed: str = ""

    @property
    def reads(self) -> frozenset[str]:
        """Names of the comparisons and analyses that it reads."""
        return frozenset(self.parts)

    def filled(self, findings: Findings, printed: PrintedTable) -> Records:
        """Return the table: ``ours ± SE | paper | Δ`` in each cell, – where there is none."""
        numbers: Numbers = imported(self.function)(findings, **self.arguments)
        columns = list(dict.fromkeys(name for row in numbers.values() for name in row))
        missing = Estimate(float("nan"))
        rows = tuple(
            (row, *(self._entry(of_row.get(column, missing), printed, row, column) for column in columns))
            for row, of_row in numbers.items()
        )
        return Records(
            ("", *columns), rows, f"{self.name}: {self.title}", (legend(printed), *self.notes, *faults(printed))
        )

    def _entry(self, ours: Estimate, printed: PrintedTable, row: str, column: str) -> str:
        if not printed:
            return beside(ours, None, self.decimals)
        if (row, column) in printed or not self.mean_of_paper:
            found = printed.get((row, column))
            return beside(ours, math.nan if found is None else found.value, self.decimals)
        mean = _mean_of_others(printed, row, column)
        return beside(ours, mean, self.decimals, is_mean=not math.isnan(mean))


def _mean_of_others(printed: PrintedTable, row: str, column: str) -> float:
    """Return the mean of a column if the row is not the paper's, that of a row if the column is not, else NaN."""
    is_known = any(name == row for name, _ in printed), any(name == column for _, name in printed)
    if is_known == (False, True):
        chosen = [one.value for (_, name), one in printed.items() if name == column]
    elif is_known == (True, False):
        chosen = [one.value for (name, _), one in printed.items() if name == row]
    else:
        return math.nan
    known = [value for value in chosen if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
