"""A number of ours beside the one that a paper prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.studies.printed import PrintedNumber

PrintedTable: TypeAlias = Mapping[tuple[str, str], PrintedNumber]
"""(row, column) -> number."""

_MOST_PLACES = 3


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
