"""The numbers that a paper prints, as data, and a number of ours beside one of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lightning_xai.metrics.estimate import Estimate

_COLUMNS = ["table", "row", "column", "value", "line", "note"]
_MOST_PLACES = 3


@dataclass(frozen=True)
class PrintedNumber:
    """A number as a paper prints it.

    Attributes:
        value: In the unit of the paper's table; NaN where it prints none.
        line: Of the paper's text.
        note: Why it may be wrong; empty if nothing speaks against it.
    """

    value: float
    line: int
    note: str = ""


PrintedTable: TypeAlias = Mapping[tuple[str, str], PrintedNumber]
"""(row, column) -> number."""

Printed = Mapping[str, PrintedTable]
"""Table -> its numbers, with the rows and columns in the words of the table's layout."""


def read_printed(path: Path) -> Printed:
    """Read a CSV file with the columns table, row, column, value, line, note; an empty value is NaN.

    Raises:
        ValueError: If a column is missing, or a place stands twice.
    """
    found: dict[str, dict[tuple[str, str], PrintedNumber]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != _COLUMNS:
            raise ValueError(f"Expected {path.name} to have the columns {_COLUMNS}, but got {reader.fieldnames}.")
        for row in reader:
            table, place = found.setdefault(row["table"], {}), (row["row"], row["column"])
            if place in table:
                raise ValueError(f"Expected each place of {path.name} once, but {row['table']} has two of {place}.")
            value = float(row["value"]) if row["value"] else math.nan
            table[place] = PrintedNumber(value, int(row["line"]), row["note"] or "")
    return found


def beside(ours: Estimate, paper: float | None, decimals: int, *, is_mean: bool = False) -> str:
    """Return ``ours ± SE | paper | difference``, – for what is missing.

    Args:
        ours: In the unit of the paper's table.
        paper: What the paper prints; NaN if nothing here, None if nothing in the whole table.
        decimals: As it prints them.
        is_mean: Whether ``paper`` is a mean over several of its numbers.

    Example:
        >>> beside(Estimate(0.5, 0.01), 0.25, 2)
        '0.50 ± 0.01 | 0.25 | +0.25'
    """
    text = "–" if math.isnan(ours.value) else f"{ours.value:.{decimals}f}"
    text += "" if math.isnan(ours.error) else f" ± {ours.error:.{decimals}f}"
    if paper is None:
        return text
    if math.isnan(paper):
        return f"{text} | – | –"
    difference = "–" if math.isnan(ours.value) else f"{ours.value - paper:+.{decimals}f}"
    return f"{text} | {'mean ' if is_mean else ''}{paper:.{decimals}f} | {difference}"


def legend(printed: PrintedTable) -> str:
    """Return what the parts of an entry are."""
    return "ours ± standard error | paper | difference" if printed else "value ± standard error"


def faults(printed: PrintedTable) -> Iterator[str]:
    """Yield what is known to be wrong with the paper's numbers, each once."""
    by_note: dict[str, list[str]] = {}
    for (row, column), one in printed.items():
        if one.note:
            by_note.setdefault(one.note, []).append(f"{row}, {column}")
    for note, places in by_note.items():
        others = [f"{len(places) - _MOST_PLACES} more"] if len(places) > _MOST_PLACES else []
        yield f"In the paper ({'; '.join([*places[:_MOST_PLACES], *others])}): {note}"
