"""Accuracy beside an explanation score: both over epochs, and one over the other."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lightning_xai.probing.decisions.alignment import LEAST_EPOCHS, Alignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACCURACY, _SCORE, _FRONT = "#1f5fa8", "#c4521a", "#c4521a"
_LETTERS = 24  # of a line
_BESIDE = 36  # letters of two titles that have room beside each other
_DPI = 120
_MOST_NAMED = 6  # epochs of the front that are named in the scatter: more overlap


def plot_alignment(alignment: Alignment) -> Figure:
    """Draw accuracy and score over epochs in one chart, and beside it each epoch by both, connected and coloured.

    Epochs of the Pareto front, which no other beats in both, have a ring and, where they are few, their number. Bars
    and band are the score's standard error over images.

    Args:
        alignment: At least one epoch.

    Returns:
        A figure that pyplot does not know: save it, or let a notebook show it.

    Raises:
        ValueError: If there is no epoch.

    Example:
        >>> from lightning_xai.metrics.estimate import Estimate
        >>> from lightning_xai.probing.decisions.alignment import Point
        >>> points = [Point(i, 10 * i, 0.5 + 0.1 * i, Estimate(0.3 - 0.02 * i, 0.01)) for i in range(4)]
        >>> [
        ...     axes.get_xlabel()
        ...     for axes in plot_alignment(Alignment("val_acc", "xai/faithfulness_gain", points)).axes[:2]
        ... ]
        ['epoch', 'val_acc ↑']
    """
    from matplotlib.figure import Figure

    if not alignment.points:
        raise ValueError("Expected `alignment` to hold at least one epoch, but it has none.")
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    over_epochs, scatter = figure.subplots(1, 2)
    _draw_curves(over_epochs, alignment)
    _draw_scatter(scatter, alignment)
    return figure


def as_picture(figure: Figure) -> Tensor:
    """Return a figure as a picture, uint8 (H, W, 3)."""
    from PIL import Image

    encoded = io.BytesIO()
    figure.savefig(encoded, format="png", dpi=_DPI)
    return torch.from_numpy(np.array(Image.open(encoded).convert("RGB")))


def _labels(alignment: Alignment) -> tuple[str, str]:
    arrows = {1.0: " ↑", -1.0: " ↓", None: ""}
    return (
        _in_lines(alignment.accuracy) + arrows[alignment.accuracy_sign],
        _in_lines(alignment.score) + arrows[alignment.score_sign],
    )


def _in_lines(key: str) -> str:
    """Break a long key after slashes."""
    lines = [""]
    for part in key.replace("/", "/\n").split("\n"):
        if lines[-1] and len(lines[-1] + part) > _LETTERS:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _numbers(alignment: Alignment) -> tuple[list[float], list[float], list[float]]:
    """Return accuracies, scores and errors, 0 where an error is not known."""
    points = alignment.points
    errors = [one.score.error if math.isfinite(one.score.error) else 0.0 for one in points]
    return [one.accuracy for one in points], [one.score.value for one in points], errors


def _draw_curves(axes: Axes, alignment: Alignment) -> None:
    from matplotlib.ticker import MaxNLocator

    accuracies, scores, errors = _numbers(alignment)
    by_epoch = len({one.epoch for one in alignment.points}) == len(alignment.points)
    at = [one.epoch if by_epoch else one.step for one in alignment.points]
    right = axes.twinx()
    accuracy, score = _labels(alignment)
    if len(accuracy.split("\n")[-1]) + len(score.split("\n")[-1]) > _BESIDE:
        accuracy += "\n" * (score.count("\n") + 1)  # above the other
    axes.set_title(accuracy, loc="left", color=_ACCURACY, fontsize="medium")
    right.set_title(score, loc="right", color=_SCORE, fontsize="medium")
    for side, values, color, marker in ((axes, accuracies, _ACCURACY, "o"), (right, scores, _SCORE, "s")):
        side.plot(at, values, marker=marker, markersize=3.5, color=color)
        side.tick_params(axis="y", colors=color)
    low, high = ([value + sign * error for value, error in zip(scores, errors, strict=True)] for sign in (-1, 1))
    right.fill_between(at, low, high, color=_SCORE, alpha=0.2, linewidth=0)
    axes.set_xlabel("epoch" if by_epoch else "step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="x", color="0.9")


def _draw_scatter(axes: Axes, alignment: Alignment) -> None:
    from matplotlib.ticker import MaxNLocator

    accuracies, scores, errors = _numbers(alignment)
    epochs = [one.epoch for one in alignment.points]
    axes.plot(accuracies, scores, color="0.7", linewidth=0.8, zorder=1)
    axes.errorbar(accuracies, scores, yerr=errors, fmt="none", ecolor="0.8", elinewidth=0.8, zorder=1)
    drawn = axes.scatter(accuracies, scores, c=epochs, cmap="viridis", s=28, zorder=2)
    if len(set(epochs)) > 1:
        axes.figure.colorbar(drawn, ax=axes, label="epoch", ticks=MaxNLocator(integer=True))
    _ring_front(axes, alignment)
    axes.set_xlabel(_labels(alignment)[0])
    axes.set_ylabel(_labels(alignment)[1])
    axes.margins(0.1)
    axes.set_title(_title(alignment), fontsize="medium")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def _ring_front(axes: Axes, alignment: Alignment) -> None:
    front = alignment.front()
    if not front:
        return
    at = [one.accuracy for one in front], [one.score.value for one in front]
    axes.scatter(*at, s=90, facecolors="none", edgecolors=_FRONT, linewidths=1.3, zorder=3, label="Pareto front")
    if len(front) <= _MOST_NAMED:
        for one, name in zip(front, alignment.names_of(front), strict=True):
            axes.annotate(name, (one.accuracy, one.score.value), (6, 6), textcoords="offset points", fontsize=8)
    axes.legend(fontsize="small", loc="best")


def _title(alignment: Alignment) -> str:
    found = alignment.correlation()
    if found is not None:
        return f"Spearman {found} (95 %)"
    if len(alignment.points) < LEAST_EPOCHS:
        return f"{len(alignment.points)} epochs: a correlation needs {LEAST_EPOCHS}"
    return "constant: no correlation"
