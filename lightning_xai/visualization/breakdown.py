"""Values by class and by group, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.breakdown import Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"class": "#1f5fa8", "group": "#c4521a"}
_MOST_ROWS = 24  # of classes, and of groups
_WIDTH, _HEIGHT = 2.5, 0.24  # inches of a column, and of a row
_LETTERS = 22  # of a name


def plot_breakdown(rows: Sequence[Part], title: str = "") -> Figure:
    """Draw a column per metric, and in it a point with its standard error for each class, then for each group.

    A dashed line is the value of all images. Beside a name stands how many images it has. Of more than 24 classes, or
    groups, those are drawn whose value of the last metric is farthest from that of all.

    Args:
        rows: Of all images (``by="all"``), classes and groups.
        title: Above everything.

    Returns:
        A figure that pyplot does not know: save it, or let a notebook show it.

    Raises:
        ValueError: If there is no class and no group.

    Example:
        >>> from lightning_xai.metrics.estimate import Estimate
        >>> rows = [Part("group", name, "sparseness", Estimate(0.5, 0.1), 4) for name in ("north", "south")]
        >>> [label.get_text() for label in plot_breakdown(rows).axes[0].get_yticklabels()]
        ['north (4)', 'south (4)']
    """
    from matplotlib.figure import Figure

    shown = {by: _shown([row for row in rows if row.by == by], rows) for by in _COLOURS}
    shown = {by: names for by, names in shown.items() if names}
    if not shown:
        raise ValueError("Expected `rows` to hold a class or a group, but there is none.")
    metrics = list(dict.fromkeys(row.metric for row in rows))
    heights = [len(names) + 1 for names in shown.values()]
    size = (1.8 + _WIDTH * len(metrics), 1.0 + _HEIGHT * sum(heights) + 0.3 * len(shown))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize="medium", x=0.01, ha="left")
    panels = figure.subplots(len(shown), len(metrics), squeeze=False, sharex="col", sharey="row", height_ratios=heights)
    for panels_of_part, (by, names) in zip(panels, shown.items(), strict=True):
        for axes, metric in zip(panels_of_part, metrics, strict=True):
            _draw(axes, [row for row in rows if row.metric == metric], by, names)
        counts = {row.name: row.num_images for row in rows if row.by == by}
        panels_of_part[0].set_yticks(range(len(names)), [f"{_short(name)} ({counts[name]})" for name in names])
        panels_of_part[0].set_ylabel(by)
    for axes, metric in zip(panels[0], metrics, strict=True):
        axes.set_title(metric, fontsize="medium")
    return figure


def _shown(own: Sequence[Part], rows: Sequence[Part]) -> list[str]:
    """Return the names that are drawn, in order."""
    names = list(dict.fromkeys(row.name for row in own))
    if len(names) <= _MOST_ROWS:
        return names
    last = own[-1].metric
    of_all = next((row.estimate.value for row in rows if row.by == "all" and row.metric == last), 0.0)
    distances = {row.name: abs(row.estimate.value - of_all) for row in own if row.metric == last}
    known = [name for name in names if math.isfinite(distances.get(name, math.nan))]
    return [name for name in names if name in sorted(known, key=lambda one: -distances[one])[:_MOST_ROWS]]


def _draw(axes: Axes, rows: Sequence[Part], by: str, names: Sequence[str]) -> None:
    """Draw one metric's points of the classes, or of the groups; the first name stands above."""
    of_names = {row.name: row for row in rows if row.by == by}
    for row in rows:
        if row.by == "all" and math.isfinite(row.estimate.value):
            axes.axvline(row.estimate.value, color="0.6", linestyle="--", linewidth=1)
    for height, name in enumerate(names):
        one = of_names[name].estimate if name in of_names else Estimate(math.nan)
        if math.isfinite(one.value):
            error = one.error if math.isfinite(one.error) else 0.0
            axes.errorbar(one.value, height, xerr=error, fmt="o", color=_COLOURS[by], capsize=2, markersize=4)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
