"""A score of several runs over epochs, and the paired difference of two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning_xai.metrics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("#1f5fa8", "#c4521a")
_DIFFERENCE = "#57606a"


def plot_runs(curves: Mapping[str, Mapping[int, Estimate]], differences: Mapping[int, Estimate], score: str) -> Figure:
    """Draw the curves of two runs, and below them how much the second exceeds the first.

    Args:
        curves: Name of each run -> epoch -> value and standard error.
        differences: Epoch -> paired difference and its standard error.
        score: What is drawn.

    Returns:
        A figure that pyplot does not know: save it, or let a notebook show it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for (name, curve), color in zip(curves.items(), _COLORS, strict=False):
        _draw(above, curve, color, name)
    above.set_ylabel(score)
    above.legend(fontsize="small", frameon=False)
    below.axhline(0.0, color="0.6", linewidth=0.8)
    _draw(below, differences, _DIFFERENCE, None)
    first, second = curves
    below.set_ylabel("paired difference")
    below.set_title(f"{second} − {first}, same images", loc="left", fontsize="small")
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (above, below):
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    return figure


def _draw(axes: Axes, curve: Mapping[int, Estimate], color: str, label: str | None) -> None:
    """Draw values with bars of one standard error."""
    values = [one.value for one in curve.values()]
    errors = [one.error if one.error == one.error else 0.0 for one in curve.values()]
    axes.errorbar(
        list(curve),
        values,
        yerr=errors,
        color=color,
        marker="o",
        markersize=3.5,
        elinewidth=0.9,
        capsize=2,
        label=label,
    )
