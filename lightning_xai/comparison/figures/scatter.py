"""Values over something else, a panel for each metric and explainer: over probability, over the model's accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, TypeAlias

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.figures.heat_tables import ARROWS, row_name
from lightning_xai.comparison.statistics.aggregates import accuracies, found_metrics, of_setting
from lightning_xai.comparison.statistics.statistics import correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_xai.comparison.statistics.table_content import TableContent

_WIDTH, _HEIGHT, _MARGINS = 1.75, 1.45, (0.9, 0.9)  # inches, of a panel and around all
_LETTERS_PER_INCH = 13
_COLOR, _PALE, _CONTROL = "#1f5fa8", "0.75", "0.4"

_Draw: TypeAlias = "Callable[[Axes, str, str], None]"


def plot_probability(table: TableContent) -> Figure:
    """Draw each image's value over the probability of the explained class, a panel for each metric and explainer.

    Above each panel stands Spearman's correlation over the images in which the metric is defined.

    Args:
        table: Of a comparison.
    """
    figure, parts = _parts(table, list(table.settings), [""] * len(table.settings))
    for part, setting in zip(parts, table.settings, strict=True):

        def draw(axes: Axes, metric: str, explainer: str, setting: Setting = setting) -> None:
            _draw_images(axes, table, Cell(setting, explainer), metric)

        _draw_panels(part, table, setting, draw, "probability of the class")
        part.suptitle(str(setting), fontsize=9, x=0.01, ha="left")
    return figure


def plot_accuracy(
    table: TableContent, *, accuracy: Mapping[str, float] | None = None, connected: bool = False
) -> Figure:
    """Draw each model's value, with its standard error, over its accuracy, a panel for each metric and explainer.

    Above each panel stand Spearman's correlation over the models and its p-value.

    Args:
        table: Of a comparison of at least two models.
        accuracy: Of each model, by name, in any unit; the share of the compared images that it gets right if None (see
            `ComparisonTable.accuracy`).
        connected: Whether a line goes from model to model, for checkpoints of one training in order.

    Raises:
        ValueError: If a model has no accuracy, or there is only one model.
    """
    groups: dict[tuple[object, ...], list[Setting]] = {}
    for setting in dict.fromkeys(cell.setting for cell, _ in table.values):  # a model that fails has nothing to draw
        groups.setdefault(of_setting(setting)[1:], []).append(setting)
    known = [_accuracies(table, settings, accuracy) for settings in groups.values()]
    firsts = [settings[0] for settings in groups.values()]
    names = [_numbered(table, one) for one in known]
    figure, parts = _parts(table, firsts, names)
    for part, settings, one, title in zip(parts, groups.values(), known, names, strict=True):

        def draw(
            axes: Axes,
            metric: str,
            explainer: str,
            settings: Sequence[Setting] = settings,
            one: Mapping[str, float] = one,
        ) -> None:
            _draw_models(axes, table, settings, one, metric, explainer, connected=connected)

        _draw_panels(part, table, settings[0], draw, "accuracy")
        place = str(settings[0]).partition(" · ")[2]
        part.suptitle(f"{place}\n{title}", fontsize=9, x=0.01, ha="left")
    return figure


def _accuracies(
    table: TableContent, settings: Sequence[Setting], given: Mapping[str, float] | None
) -> dict[str, float]:
    """Return the accuracy of each model of some settings.

    Raises:
        ValueError: If one has none, or there is only one model.
    """
    models = [setting.model for setting in settings]
    if len(models) < 2:
        raise ValueError(f"Expected at least two models to draw over their accuracy, but got {models[0]!r} alone.")
    if given is None:
        place = {"data": settings[0].data, "transform": settings[0].transform}
        given = {row["model"]: row["value"] for row in accuracies(table).where(**place)}
    lacking = [name for name in models if math.isnan(given.get(name, math.nan))]
    if lacking:
        raise ValueError(
            f"Expected `accuracy` to hold a number for each model, but {', '.join(lacking)} has none: pass a dict of "
            "names and numbers."
        )
    return {name: float(given[name]) for name in models}


def _numbered(table: TableContent, accuracies: Mapping[str, float]) -> str:
    """Return the names of the models behind their numbers, in lines as wide as the figure."""
    words = " · ".join(f"{number} {name} ({value:.3g})" for number, (name, value) in enumerate(accuracies.items(), 1))
    return fill(words, int(_LETTERS_PER_INCH * (_MARGINS[0] + _WIDTH * len(table.explainers))))


def _parts(table: TableContent, settings: Sequence[Setting], titles: Sequence[str]) -> tuple[Figure, list[Figure]]:
    """Return a figure that pyplot does not know, and a part of it for each setting, below each other."""
    from matplotlib.figure import Figure

    heights = [
        _MARGINS[1] + 0.15 * title.count("\n") + _HEIGHT * len(found_metrics(table, setting))
        for setting, title in zip(settings, titles, strict=True)
    ]
    width = _MARGINS[0] + _WIDTH * len(table.explainers)
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    return figure, list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])


def _draw_panels(part: Figure, table: TableContent, setting: Setting, draw: _Draw, below: str) -> None:
    """Draw a row of panels for each metric, which share the axis of its values, and a column for each explainer."""
    metrics, explainers = found_metrics(table, setting), table.explainers
    grid = part.subplots(len(metrics), len(explainers), squeeze=False, sharex=True, sharey="row")
    for metric, row in zip(metrics, grid, strict=True):
        for explainer, axes in zip(explainers, row, strict=True):
            draw(axes, metric, explainer)
            axes.tick_params(labelsize=7)
            axes.grid(color="0.93")
            axes.set_axisbelow(True)
        row[0].set_ylabel(metric + ARROWS[table.metrics[metric].higher_is_better], fontsize=8)
    part.align_ylabels()
    for explainer, top, bottom in zip(explainers, grid[0], grid[-1], strict=True):
        top.set_title(f"{row_name(table, explainer)}\n{top.get_title()}", fontsize=8)
        bottom.set_xlabel(below, fontsize=8)


def _draw_images(axes: Axes, table: TableContent, cell: Cell, metric: str) -> None:
    found = table.values.get((cell, metric))
    if found is None:
        axes.set_title("no values", fontsize=8)
        return
    probabilities = found.facts.probabilities.tolist()
    values = table.metrics[metric].per_image(found.rows).tolist()
    color = _CONTROL if cell.explainer in table.controls else _COLOR
    axes.scatter(probabilities, values, s=9, alpha=0.6, linewidths=0, color=color)
    rho, _, _ = correlation(probabilities, values, "spearman")
    axes.set_title(_rho(rho), fontsize=8)


def _draw_models(
    axes: Axes,
    table: TableContent,
    settings: Sequence[Setting],
    accuracies: Mapping[str, float],
    metric: str,
    explainer: str,
    *,
    connected: bool,
) -> None:
    estimates = [table.estimate(setting, explainer, metric) for setting in settings]
    at, values = list(accuracies.values()), [one.value for one in estimates]
    errors = [0.0 if math.isnan(one.error) else one.error for one in estimates]
    axes.errorbar(at, values, yerr=errors, fmt="none", ecolor=_PALE, elinewidth=1, zorder=1)
    if connected:
        axes.plot(at, values, color=_PALE, linewidth=1, zorder=1)
    color = _CONTROL if explainer in table.controls else _COLOR
    axes.scatter(at, values, s=62, color=color, linewidths=0.5, edgecolors="w", zorder=2)
    for number, place in enumerate(zip(at, values, strict=True), 1):
        if not math.isnan(place[1]):
            axes.text(*place, str(number), color="w", fontsize=6, ha="center", va="center", zorder=3)
    axes.margins(0.12)
    rho, p, _ = correlation(at, values, "spearman")
    axes.set_title(_rho(rho) + ("" if math.isnan(p) else f", p {p:.2g}"), fontsize=8)


def _rho(value: float) -> str:
    return "ρ –" if math.isnan(value) else f"ρ {value:.2f}".replace("-", "−")
