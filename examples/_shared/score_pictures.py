"""Pictures of explanation scores: over the factors of the logits, and over the epochs of runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_xai import ExplainedEpoch

from .finished_run import SCORES, FinishedRun

COLOURS = {
    "probe_confidence": "#000000",
    "faithfulness": "#d55e00",
    "faithfulness_gain": "#e69f00",
    "faithfulness_relative": "#009e73",
    "faithfulness_skill": "#0072b2",
    "insertion_skill": "#cc79a7",
}
DASHED = ("probe_confidence",)
LIMITS = (-0.2, 1.4)  # what leaves them is cut: ratios to small probabilities do


def draw_temperatures(heated: Mapping[str, Sequence[Mapping[float, ExplainedEpoch]]], path: Path) -> Path:
    """Draw a panel per data set: each score over the factor, a thin line per run and a thick one of their mean."""
    figure, (panels,) = _panels(1, len(heated), height=3.4)
    for panel, (name, runs) in zip(panels, heated.items(), strict=True):
        for score, colour in COLOURS.items():
            factors = list(runs[0])
            lines = [[run[factor].estimates[f"xai/{score}"].value for factor in factors] for run in runs]
            style = "--" if score in DASHED else "-"
            for line in lines:
                panel.plot(factors, line, style, color=colour, linewidth=0.6, alpha=0.5)
            mean = [sum(values) / len(values) for values in zip(*lines, strict=True)]
            panel.plot(factors, mean, style, color=colour, linewidth=2, marker="o", markersize=4, label=_told(score))
        panel.set_ylim(*LIMITS)
        panel.set_xscale("log", base=2)
        panel.set_xticks(factors, [f"× {factor:g}" for factor in factors])
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("logits")
    return _saved(figure, panels[-1], path)


def draw_epochs(runs: Mapping[str, Sequence[FinishedRun]], path: Path) -> Path:
    """Draw a panel per run: accuracy and scores over the epochs, with a star where each is highest."""
    width = max(map(len, runs.values()))
    figure, rows = _panels(len(runs), width, height=2.3 * len(runs) + 0.6)
    for row, (name, of) in zip(rows, runs.items(), strict=True):
        for panel, run in zip(row, of, strict=True):
            accuracies = [run.accuracies[epoch.epoch] for epoch in run.history]
            _curve(panel, run, accuracies, "validation accuracy", "#000000", dashed=True)
            for score in SCORES:
                values = [epoch.get(f"xai/{score}", math.nan) for epoch in run.history]
                _curve(panel, run, values, _told(score), COLOURS[score])
            panel.set_title(f"{name}, run {of.index(run) + 1}", loc="left", fontsize=10)
            panel.set_ylim(*LIMITS)
    for panel in rows[-1]:
        panel.set_xlabel("epoch")
    return _saved(figure, rows[0][-1], path)


def _curve(
    panel: Any, run: FinishedRun, values: Sequence[float], label: str, colour: str, *, dashed: bool = False
) -> None:
    epochs = [epoch.epoch for epoch in run.history]
    panel.plot(epochs, values, "--" if dashed else "-", color=colour, linewidth=1.3, label=label)
    top = max(range(len(values)), key=lambda place: -math.inf if math.isnan(values[place]) else values[place])
    panel.plot(epochs[top], min(values[top], LIMITS[1]), "*", color=colour, markersize=10, clip_on=False)


def _told(score: str) -> str:
    return score.replace("probe_", "").replace("_", " ")


def _panels(num_rows: int, num_columns: int, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(3.2 * num_columns + 2.2, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.3)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, panels


def _saved(figure: Any, labelled: Any, path: Path) -> Path:
    figure.legend(*labelled.get_legend_handles_labels(), frameon=False, loc="outside right center", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path
