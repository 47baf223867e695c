"""A comparison's table as tables of heat: means, ranks, correlations, agreement of heatmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.records import shown
from lightning_xai.comparison.statistics.aggregates import (
    MEAN_RANK,
    compared,
    correlations,
    found_metrics,
    of_setting,
    ranking_metrics,
    ranks_in,
    repeated,
    signed_means,
)
from lightning_xai.comparison.statistics.agreement import SIMILARITY_WORDS, Agreement, AgreementAxis, mean_over_images
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_xai.comparison.statistics.table_content import TableContent

_CELL_WIDTH, _CELL_HEIGHT, _MARGINS = 0.95, 0.34, (2.4, 1.9)  # inches
_DARK = 0.25  # of the range at either end, where text is white
ARROWS = {True: " ↑", False: " ↓", None: ""}


@dataclass(frozen=True)
class HeatTable:
    """Numbers in rows and columns, each on a colour.

    Attributes:
        rows: Names.
        columns: Names.
        texts: Of each number.
        colours: Of each number, from 0 (worst) to 1 (best), NaN for none.
        title: What stands above.
        palette: Name of the colour map.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    texts: Sequence[Sequence[str]]
    colours: Sequence[Sequence[float]]
    title: str
    palette: str = "viridis"

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return _MARGINS[0] + _CELL_WIDTH * len(self.columns), _MARGINS[1] + _CELL_HEIGHT * len(self.rows)


def plot_means(table: TableContent, *, ax: Axes | None = None) -> Figure:
    """Draw the means of every setting as a table of heat, coloured from the worst to the best of each metric.

    Args:
        table: Of a comparison.
        ax: Where to draw; a new figure with a panel per setting if None.

    Raises:
        ValueError: If ``ax`` is given and there are several settings.
    """
    return _drawn([_means(table, setting) for setting in table.settings], ax)


def plot_ranks(table: TableContent, *, ax: Axes | None = None) -> Figure:
    """Draw the ranks of explainers by each metric in every setting; see `plot_means`."""
    return _drawn([_ranks(table, setting) for setting in table.settings], ax)


def plot_correlations(table: TableContent, *, ax: Axes | None = None) -> Figure:
    """Draw the rank correlations between metrics, over explainers, in every setting; see `plot_means`."""
    return _drawn([_correlations(table, setting) for setting in table.settings], ax)


def plot_agreement(
    table: TableContent,
    *,
    between: AgreementAxis = "explainers",
    by: Similarity = "spearman",
    ax: Axes | None = None,
) -> Figure:
    """Draw how much heatmaps agree, two and two: mean ± standard error over images.

    Between models and targets a panel for each real explainer: controls look at no model, and agree with themselves.

    Args:
        table: Of a comparison.
        between: See `ComparisonTable.agreement`.
        by: Likewise.
        ax: See `plot_means`.

    Raises:
        ValueError: If an argument is unknown, nothing can be compared, or ``ax`` is given and there are several panels.
    """
    found = [one for one in table.agreements(between, by) if one.place[-1] not in table.controls]
    if not found:
        raise ValueError(
            f"Expected at least two {between} with heatmaps of the same images to compare, but found none."
        )
    return _drawn([_agreement(table, one, between, by) for one in found], ax)


def _drawn(tables: Sequence[HeatTable], ax: Axes | None) -> Figure:
    if ax is not None and len(tables) > 1:
        raise ValueError(f"Expected one setting to draw into `ax`, but the table has {len(tables)}: leave `ax` out.")
    every_axes = _new_axes(tables) if ax is None else [ax]
    for axes, one in zip(every_axes, tables, strict=True):
        _draw(axes, one)
    return every_axes[0].figure  # type: ignore[return-value]


def _means(table: TableContent, setting: Setting) -> HeatTable:
    """Return the means, coloured from the worst to the best of each metric; those without a direction stay white."""
    metrics, columns = found_metrics(table, setting), []
    for metric in metrics:
        signed = signed_means(table, setting, metric, table.explainers)
        has_direction = table.metrics[metric].higher_is_better is not None
        columns.append(_shares(signed) if has_direction else [math.nan] * len(signed))
    texts = [[shown(table.estimate(setting, e, m).value) for m in metrics] for e in table.explainers]
    heads = [m + ARROWS[table.metrics[m].higher_is_better] for m in metrics]
    return HeatTable(
        _rows(table),
        heads,
        texts,
        list(zip(*columns, strict=True)),
        f"{setting}\nmeans; yellow is the best of a column",
    )


def _ranks(table: TableContent, setting: Setting) -> HeatTable:
    metrics = [*_ranking(table, setting), MEAN_RANK]
    found = ranks_in(table, setting, controls=True)
    numbers = [[found.get((explainer, metric), math.nan) for metric in metrics] for explainer in table.explainers]
    count = max(len(numbers) - 1, 1)
    colours = [[1 - (rank - 1) / count for rank in row] for row in numbers]
    texts = [["–" if math.isnan(rank) else f"{rank:.1f}".removesuffix(".0") for rank in row] for row in numbers]
    return HeatTable(_rows(table), metrics, texts, colours, f"{setting}\nranks, 1 is best")


def _correlations(table: TableContent, setting: Setting) -> HeatTable:
    metrics = _ranking(table, setting)
    found = {(name, name): 1.0 for name in metrics}
    for row in correlations(table, "metrics", "spearman", controls=False):
        if (row["model"], row["data"], row["transform"], row["target"]) == of_setting(setting):
            found[row["first"], row["second"]] = found[row["second"], row["first"]] = row["correlation"]
    numbers = [[found.get((a, b), math.nan) for b in metrics] for a in metrics]
    texts = [["–" if math.isnan(value) else f"{value:.2f}" for value in row] for row in numbers]
    colours = [[(value + 1) / 2 for value in row] for row in numbers]
    count = len(set(compared(table, controls=False)) - repeated(table, setting))
    title = f"{setting}\nSpearman's correlation over {count} explainers"
    return HeatTable(metrics, metrics, texts, colours, title, "RdBu")


def _agreement(table: TableContent, one: Agreement, between: AgreementAxis, by: Similarity) -> HeatTable:
    """Return the agreement of every pair; that of a name with itself is 1 by definition, and stays white."""
    rows = [row_name(table, name) for name in one.names]
    numbers, texts = [], []
    for first in one.names:
        pairs = [None if first == second else mean_over_images(one.of(first, second)) for second in one.names]
        numbers.append([math.nan if pair is None else pair.value for pair in pairs])
        texts.append(["" if pair is None else _with_error(pair) for pair in pairs])
    colours = [[(value + 1) / 2 for value in row] for row in numbers]
    title = f"{one}\n{SIMILARITY_WORDS[by]} of the heatmaps of two {between}, mean ± standard error"
    return HeatTable(rows, one.names, texts, colours, title, "RdBu")


def _with_error(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    value = f"{estimate.value:.2f}".replace("-", "−")
    value = "0.00" if value == "−0.00" else value
    return value + ("" if math.isnan(estimate.error) else f" ± {estimate.error:.2f}")


def _ranking(table: TableContent, setting: Setting) -> list[str]:
    """Return the metrics with a direction and with values."""
    return [name for name in found_metrics(table, setting) if name in ranking_metrics(table)]


def _rows(table: TableContent) -> list[str]:
    return [row_name(table, name) for name in table.explainers]


def row_name(table: TableContent, name: str) -> str:
    """Return an explainer's name, which says so where it is a control."""
    return f"{name} (control)" if name in table.controls else name


def _shares(values: Sequence[float]) -> list[float]:
    """Return where values lie between the least and the greatest, in [0, 1]; ½ where all are equal."""
    known = [value for value in values if not math.isnan(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return [(value - low) / (high - low) if high > low else value * 0 + 0.5 for value in values]


def _draw(axes: Axes, table: HeatTable) -> None:
    colours = np.array(table.colours, dtype=float).reshape(len(table.rows), len(table.columns))
    axes.imshow(np.ma.masked_invalid(colours), cmap=table.palette, vmin=0, vmax=1, aspect="auto", alpha=0.9)
    for row, texts in enumerate(table.texts):
        for column, text in enumerate(texts):
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=_ink(table, colours[row, column]))
    axes.set_xticks(range(len(table.columns)), table.columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(table.rows)), table.rows)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title(table.title, fontsize=9, loc="left")


def _ink(table: HeatTable, colour: float) -> str:
    """Return the colour of a text that can be read on its ground."""
    if math.isnan(colour):
        return "black"
    is_dark = colour < _DARK * 2 if table.palette == "viridis" else not _DARK / 2 <= colour <= 1 - _DARK / 2
    return "white" if is_dark else "black"


def _new_axes(tables: Sequence[HeatTable]) -> list[Axes]:
    """Return axes below each other in a figure that pyplot does not know."""
    from matplotlib.figure import Figure

    width = max(table.size[0] for table in tables)
    heights = [table.size[1] for table in tables]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    return list(figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0])
