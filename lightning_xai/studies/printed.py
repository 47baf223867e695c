"""The numbers that a paper prints, as data."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_COLUMNS = ["table", "row", "column", "value", "line", "note"]


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


Printed = Mapping[str, Mapping[tuple[str, str], PrintedNumber]]
"""Table -> (row, column) -> number, with the rows and columns in the words of the table's layout."""


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
