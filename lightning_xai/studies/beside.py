"""A number of ours beside the one that a paper prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.studies.printed import PrintedNumber

PrintedTable: TypeAlias = Mapping[tuple[str, str], PrintedNumber]
"""(row, column) -> number."""

LEGEND = "ours ± standard error | paper | difference"


def beside(ours: Estimate, printed: PrintedTable, row: str, column: str, decimals: int, *, means: bool = False) -> str:
    """Return ``ours ± SE | paper | difference``; ours alone in a table of which the paper prints nothing.

    Args:
        ours: In the unit of the paper's table.
        printed: Its numbers.
        row: In its words.
        column: Likewise.
        decimals: As it prints them.
        means: Whether a row that the paper does not have gets the mean of its column, and a column that it does not
            have the mean of its row.

    Example:
        >>> beside(Estimate(0.5, 0.01), {("a", "b"): PrintedNumber(0.25, 1)}, "a", "b", 2)
        '0.50 ± 0.01 | 0.25 | +0.25'
    """
    paper, is_mean = _number(printed, row, column, means=means)
    text = "–" if math.isnan(ours.value) else f"{ours.value:.{decimals}f}"
    text += "" if math.isnan(ours.error) else f" ± {ours.error:.{decimals}f}"
    if math.isnan(paper):
        return text if not printed else f"{text} | – | –"
    difference = "–" if math.isnan(ours.value) else f"{ours.value - paper:+.{decimals}f}"
    return f"{text} | {'mean ' if is_mean else ''}{paper:.{decimals}f} | {difference}"


def _number(printed: PrintedTable, row: str, column: str, *, means: bool) -> tuple[float, bool]:
    """Return what the paper prints at a place, NaN if nothing, and whether it is a mean over others."""
    if (row, column) in printed:
        return printed[row, column].value, False
    if not means:
        return math.nan, False
    others = {place: one.value for place, one in printed.items() if not math.isnan(one.value)}
    if all(known != row for known, _ in printed):
        chosen = [value for (_, known), value in others.items() if known == column]
    elif all(known != column for _, known in printed):
        chosen = [value for (known, _), value in others.items() if known == row]
    else:
        chosen = []
    return (sum(chosen) / len(chosen), True) if chosen else (math.nan, False)


def faults(printed: PrintedTable) -> Iterator[str]:
    """Yield what is known to be wrong with the paper's numbers, each once."""
    by_note: dict[str, list[str]] = {}
    for (row, column), one in printed.items():
        if one.note:
            by_note.setdefault(one.note, []).append(f"{row}, {column}")
    for note, places in by_note.items():
        yield f"In the paper ({'; '.join(places)}): {note}"
