"""The figures of a comparison, by kind: see `ComparisonTable.plot`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any

from lightning_xai.comparison.figures.extremes import plot_extremes
from lightning_xai.comparison.figures.heat_tables import plot_agreement, plot_correlations, plot_means, plot_ranks
from lightning_xai.comparison.figures.masking_curves import plot_curves
from lightning_xai.comparison.figures.scatter import plot_accuracy, plot_probability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lightning_xai.comparison.statistics.table_content import TableContent

__all__ = [
    "plot_accuracy",
    "plot_agreement",
    "plot_correlations",
    "plot_curves",
    "plot_extremes",
    "plot_means",
    "plot_probability",
    "plot_ranks",
]

_FIGURES: dict[str, Callable[..., Figure]] = {
    "means": plot_means,
    "ranks": plot_ranks,
    "correlations": plot_correlations,
    "agreement": plot_agreement,
    "probability": plot_probability,
    "accuracy": plot_accuracy,
    "extremes": plot_extremes,
    "curves": plot_curves,
}


def draw(table: TableContent, kind: str, options: Mapping[str, Any]) -> Figure:
    """Draw a figure of a kind.

    Raises:
        TypeError: If an option is none of the kind's.
    """
    function = _FIGURES[kind]
    known = list(signature(function).parameters)[1:]
    unknown = [name for name in options if name not in known]
    if unknown:
        listed = ", ".join(known) or "none"
        raise TypeError(f"Expected options of the figure {kind!r}, which are {listed}, but got {', '.join(unknown)}.")
    return function(table, **options)
