"""One row per explained validation, in memory, in checkpoints and in a CSV file."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

Row = dict[str, float | int]


class History:
    """Rows keyed by (epoch, step): a resumed run replaces the row of the epoch that it repeats."""

    def __init__(self, rows: list[Row] | None = None) -> None:
        self._rows: dict[tuple[int, int], Row] = {}
        for row in rows or []:
            self.put(int(row["epoch"]), int(row["step"]), {k: v for k, v in row.items() if k not in {"epoch", "step"}})

    @property
    def rows(self) -> list[Row]:
        """All rows in order, each with ``epoch`` and ``step``; values that are not defined are missing."""
        return [dict(self._rows[key]) for key in sorted(self._rows)]

    def put(self, epoch: int, step: int, values: dict[str, Any]) -> None:
        """Add a row, or replace the one with the same epoch and step."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._rows[epoch, step] = {"epoch": epoch, "step": step, **finite}

    def write(self, path: Path) -> None:
        """Write all rows as CSV, in one piece, so that a reader never sees half a file."""
        rows = self.rows
        columns = list(dict.fromkeys(name for row in rows for name in row))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(path)
