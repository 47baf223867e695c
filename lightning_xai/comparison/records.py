"""Rows with named columns, and how they are written: for a terminal, Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lightning_xai._checks import check_choice
from lightning_xai.loggers.files import write_file

if TYPE_CHECKING:
    from rich.table import Table

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_TEX_SIGNS = {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "×": r"$\times$", "·": r"$\cdot$"}


@dataclass(frozen=True)
class Entry:
    """A text of a table that may be the best of its column."""

    text: str
    is_best: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Records(Sequence[dict[str, Any]]):
    """Rows with named columns; each item is a row as a dict.

    Attributes:
        columns: Their names.
        rows: Values in the order of the columns.
        title: What the table is about.
        notes: Stand below it.

    Example:
        >>> records = Records(("explainer", "value"), (("grad_cam", 0.25), ("lime", float("nan"))))
        >>> records[0]
        {'explainer': 'grad_cam', 'value': 0.25}
        >>> print(records.to_markdown())
        | explainer | value |
        |---|---|
        | grad_cam | 0.250 |
        | lime | – |
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return a row, or several, by place."""
        if isinstance(index, slice):
            return [dict(zip(self.columns, row, strict=True)) for row in self.rows[index]]
        return dict(zip(self.columns, self.rows[index], strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[place] for place in range(len(self)))

    def where(self, **equal: Any) -> Records:
        """Return the rows whose columns equal the given values.

        Raises:
            ValueError: If there is no such column.
        """
        for name in equal:
            check_choice(name, self.columns, "column")
        places = {self.columns.index(name): value for name, value in equal.items()}
        rows = tuple(row for row in self.rows if all(row[place] == value for place, value in places.items()))
        return Records(self.columns, rows, self.title, self.notes)

    def to_markdown(self) -> str:
        """Return the rows as a table of GitHub's Markdown; the best of a column are bold."""
        lines = [_markdown_line(self.columns), "|" + "---|" * len(self.columns), *map(_markdown_line, self.rows)]
        heading = [f"**{self.title}**", ""] if self.title else []
        return "\n".join([*heading, *lines, *(part for note in self.notes for part in ("", note))])

    def to_latex(self) -> str:
        """Return the rows as a ``tabular`` with the rules of booktabs; the best of a column are bold."""
        lines = [r"\begin{tabular}{" + "l" * len(self.columns) + "}", r"\toprule"]
        lines += [
            _latex_line(self.columns),
            r"\midrule",
            *map(_latex_line, self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        heading = [f"% {self.title}"] if self.title else []
        return "\n".join([*heading, *lines, *(rf"% {note}" for note in self.notes)])

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the rows with all digits as CSV, and write them if a path is given; NaN is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["" if _is_missing(value) else value for value in row] for row in self.rows])
        if path is not None:
            write_file(path, text.getvalue().encode())
        return text.getvalue()

    def __rich__(self) -> Table:
        """Return the rows for a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(self.title) or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for place, name in enumerate(self.columns):
            is_number = any(isinstance(row[place], (int, float, Entry)) for row in self.rows)
            table.add_column(
                escape(name),
                justify="right" if is_number else "left",
                vertical="bottom",
                no_wrap=place == 0,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(f"[bold]{escape(shown(v))}[/bold]" if is_best(v) else escape(shown(v)) for v in row))
        table.caption = escape("\n".join(self.notes)) or None
        table.caption_justify = "left"
        return table


def shown(value: Any) -> str:
    """Return a value as a reader wants it: three decimals, – where there is none."""
    if _is_missing(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        is_plain = value == 0 or 1e-3 <= abs(value) < 1e4
        return f"{value:.3f}" if is_plain else f"{value:.2e}"
    return str(value)


def is_best(value: Any) -> bool:
    """Return whether a value is marked as the best of its column."""
    return isinstance(value, Entry) and value.is_best


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _markdown_line(values: Sequence[Any]) -> str:
    texts = [shown(value).replace("|", r"\|").replace("\n", " ") for value in values]
    bold = [f"**{text}**" if is_best(value) else text for text, value in zip(texts, values, strict=True)]
    return f"| {' | '.join(bold)} |"


def _latex_line(values: Sequence[Any]) -> str:
    texts = [_latex(shown(value)) for value in values]
    bold = [rf"\textbf{{{text}}}" if is_best(value) else text for text, value in zip(texts, values, strict=True)]
    return " & ".join(bold) + r" \\"


def _latex(text: str) -> str:
    return "".join(_TEX.get(sign, _TEX_SIGNS.get(sign, sign)) for sign in text.replace("\n", " "))
