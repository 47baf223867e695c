"""A table of a paper whose numbers are no cells of a comparison, such as means over several metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lightning_xai.comparison.models import imported
from lightning_xai.comparison.records import Records
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.studies.beside import LEGEND, PrintedTable, beside, faults
from lightning_xai.studies.findings import Findings

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
        mean_of_paper: See `PaperTable`.
        notes: Stand below it.
    """

    name: str
    title: str
    function: str
    parts: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    decimals: int = 3
    mean_of_paper: bool = False
    notes: tuple[str, ...] = ()

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
        return Records(("", *columns), rows, f"{self.name}: {self.title}", (LEGEND, *self.notes, *faults(printed)))

    def _entry(self, ours: Estimate, printed: PrintedTable, row: str, column: str) -> str:
        return beside(ours, printed, row, column, self.decimals, means=self.mean_of_paper)
