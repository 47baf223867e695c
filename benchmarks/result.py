"""What a benchmark found: rows for the terminal, and the same as plain data for a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from rich.table import Table

from benchmarks.timing import Comparison, Spread


@dataclass
class Result:
    """One benchmark's rows.

    Attributes:
        title: What was asked.
        target: What is promised, in words; None if nothing is.
        rows: One dict per line, column -> value. ``met`` says whether the promise holds for the line.
    """

    title: str
    target: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        self.rows.append(row)

    def table(self) -> Table:
        """Return the rows for the terminal."""
        caption = None if self.target is None else f"target: {self.target}"
        table = Table(title=self.title, caption=caption, title_justify="left", caption_justify="left")
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        for name in columns:
            table.add_column(name.replace("_", " "))
        for row in self.rows:
            table.add_row(*(_shown(row.get(name)) for name in columns))
        return table

    def plain(self) -> dict[str, Any]:
        """Return everything as dicts, lists, numbers and strings."""
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        return {"title": self.title, "target": self.target, "rows": rows}


def ratios(found: Comparison, limit: float | None = None) -> dict[str, Any]:
    """Return the columns of a comparison: both ratios, milliseconds, and whether the limit is kept."""
    clock = "wall" if found.on_gpu else "cpu"
    row: dict[str, Any] = {
        "cpu_ratio": found.cpu,
        "wall_ratio": found.wall,
        f"{clock}_ms": getattr(found.measured, clock).median * 1e3,
        f"reference_{clock}_ms": getattr(found.reference, clock).median * 1e3,
    }
    return row if limit is None else {**row, "met": found.ratio <= limit}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "[green]yes[/]" if value else "[bold red]no[/]"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "–" if value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Spread) or (is_dataclass(value) and not isinstance(value, type)):
        return asdict(value)
    return value
