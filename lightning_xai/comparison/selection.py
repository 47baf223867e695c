"""A part of a comparison's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from lightning_xai._checks import check_choice
from lightning_xai.comparison.aggregates import of_setting
from lightning_xai.comparison.cell import Cell

if TYPE_CHECKING:
    from lightning_xai.comparison.table import ComparisonTable

Names: TypeAlias = str | int | Iterable[str | int] | None
"""One name or several; all if None."""

_OF_SETTING = ("models", "data", "transforms", "targets")


def selected(table: ComparisonTable, names: Mapping[str, Names]) -> ComparisonTable:
    """See `ComparisonTable.only`."""
    known: dict[str, Sequence[str | int]] = {
        name: list(dict.fromkeys(column))
        for name, column in zip(_OF_SETTING, zip(*map(of_setting, table.settings), strict=True), strict=True)
    }
    known |= {"explainers": table.explainers, "metrics": list(table.metrics)}
    chosen = {argument: _checked(given, known[argument], argument) for argument, given in names.items()}
    explainers = [name for name in table.explainers if name in chosen["explainers"] or name in table.controls]

    def stays(cell: Cell) -> bool:
        places = zip(_OF_SETTING, of_setting(cell.setting), strict=True)
        return cell.explainer in explainers and all(value in chosen[argument] for argument, value in places)

    metrics = {name: metric for name, metric in table.metrics.items() if name in chosen["metrics"]}
    return replace(
        table,
        values={place: v for place, v in table.values.items() if stays(place[0]) and place[1] in metrics},
        heatmaps={cell: found for cell, found in table.heatmaps.items() if stays(cell)},
        metrics=metrics,
        explainers_by_name={name: table.explainers_by_name[name] for name in explainers},
        transforms={name: one for name, one in table.transforms.items() if name in chosen["transforms"]},
        failures=tuple(one for one in table.failures if stays(one.cell) and one.metric in metrics),
    )


def _checked(given: Names, known: Sequence[str | int], argument: str) -> Sequence[str | int]:
    """Return the chosen names.

    Raises:
        ValueError: If one is unknown, or there is none.
    """
    if given is None:
        return known
    names = [given] if isinstance(given, (str, int)) else list(given)
    for name in names:
        check_choice(name, known, argument)
    if not names:
        raise ValueError(f"Expected `{argument}` to hold at least one of {list(known)}, but got none.")
    return names
