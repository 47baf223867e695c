"""Figures 14 to 20 of the thesis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.statistics.statistics import correlation
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.hirescam.pictures import KINDS, read_picture
from lightning_xai.studies.hirescam.tables import score_of
from lightning_xai.studies.judging.gains import groups_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"Grad-CAM": "#c0561f", "HiResCAM": "#1f5fa8"}
_WIDTH, _HEIGHT, _MOST_IN_A_ROW = 2.5, 2.0, 4  # inches
_PICTURE = 1.3  # inches


def morf_curves(findings: Findings, analysis: str) -> Figure:
    """Draw the MoRF curves of each network (Figure 14)."""
    rows = findings.analyses[analysis]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure, panels = _panels(networks)
    for axes, network in zip(panels, networks, strict=True):
        for explainer, colour in _COLOURS.items():
            own = list(rows.where(network=network, explainer=explainer))
            at, values = [row["cells"] for row in own], [row["probability"] for row in own]
            errors = [row["error"] for row in own]
            axes.plot(at, values, color=colour, linewidth=1.2, label=explainer)
            low, high = zip(*((v - e, v + e) for v, e in zip(values, errors, strict=True)), strict=True)
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_ylim(0, 1)
    _labelled(figure, panels, "cells removed", "probability of the class")
    return figure


def by_radius(findings: Findings, part: str, explainers: Mapping[str, str], radii: Mapping[str, float]) -> Figure:
    """Draw Max-Sensitivity over the radius of each network (Figure 15).

    Args:
        findings: Of the study.
        part: Which has the metrics.
        explainers: Name -> the thesis' word.
        radii: Name of the metric -> its radius.
    """
    table = findings.part(part)
    networks = _by_network(findings, part)
    figure, panels = _panels(list(networks))
    for axes, settings in zip(panels, networks.values(), strict=True):
        for name, word in explainers.items():
            found = [[table.estimate(one, name, metric) for one in settings] for metric in radii]
            values = [sum(one.value for one in of_radius) / len(of_radius) for of_radius in found]
            errors = [math.sqrt(sum(one.error**2 for one in each)) / len(each) for each in found]
            axes.errorbar(
                list(radii.values()), values, yerr=errors, color=_COLOURS[word], linewidth=1.2, marker=".", label=word
            )
        axes.set_ylim(bottom=0)
    _labelled(figure, panels, "radius", "Max-Sensitivity ↓")
    return figure


def over_accuracy(
    findings: Findings,
    part: str,
    metrics: Mapping[str, str],
    explainer: str,
    label: str,
    score: str = "balanced_accuracy",
) -> Figure:
    """Draw metrics of one explainer over the networks' balanced accuracy (Figures 16 to 18), with Spearman's rank.

    Args:
        findings: Of the study.
        part: Which has the metrics.
        metrics: Name -> the thesis' word; each has a colour, and their mean decides the correlation.
        explainer: Its name.
        label: Of the vertical axis, with the direction of the metrics.
        score: Of the networks.
    """
    from matplotlib.figure import Figure

    table, networks = findings.part(part), _by_network(findings, part)
    at = [score_of(findings, settings, score).value for settings in networks.values()]
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    every = []
    for place, (name, word) in enumerate(metrics.items()):
        values = [_mean([table.estimate(one, explainer, name).value for one in own]) for own in networks.values()]
        every.append(values)
        axes.scatter(at, values, s=22, color=f"C{place}", label=word)
    means = [_mean(values) for values in zip(*every, strict=True)]
    for x, y, name in zip(at, means, networks, strict=True):
        axes.annotate(name, (x, y), fontsize=6, color="0.4", xytext=(3, 3), textcoords="offset points")
    value, _, count = correlation(at, means, "spearman")  # what chance has in it stands with the claim
    axes.set_title(f"Spearman {value:+.2f}, {count} networks".replace("-", "−"), fontsize=9)
    axes.margins(x=0.1)  # for the names
    axes.set_xlabel("balanced accuracy")
    axes.set_ylabel(label)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    if len(metrics) > 1:
        axes.legend(fontsize=7)
    return figure


def pictures(findings: Findings, analysis: str, kinds: Sequence[str] = KINDS) -> Figure:
    """Draw pictures in rows, one for each image of each network (Figures 19 and 20)."""
    from matplotlib.figure import Figure

    rows = findings.analyses[analysis]
    places = list(dict.fromkeys((row["network"], row["image"]) for row in rows))
    figure = Figure(figsize=(_PICTURE * len(kinds) + 1.2, (_PICTURE + 0.1) * len(places) + 0.3), layout="constrained")
    grid = figure.subplots(len(places), len(kinds), squeeze=False)
    for line, (network, image) in zip(grid, places, strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            (row,) = rows.where(network=network, image=image, kind=kind)
            axes.imshow(read_picture(row["png"]).numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(f"{network}\n{image}", fontsize=7)
    for axes, kind in zip(grid[0], kinds, strict=True):
        axes.set_title(kind, fontsize=8)
    return figure


def _by_network(findings: Findings, part: str) -> dict[str, list[Setting]]:
    return {findings.group(settings[0].model): settings for settings in groups_of(findings, part).values()}


def _panels(names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each name, that pyplot does not know."""
    from matplotlib.figure import Figure

    columns = min(len(names), _MOST_IN_A_ROW)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for axes, name in zip(panels, names, strict=False):
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(color="0.93")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return figure, panels[: len(names)]


def _labelled(figure: Figure, panels: Sequence[Axes], below: str, beside: str) -> None:
    figure.supxlabel(below, fontsize=8)
    figure.supylabel(beside, fontsize=8)
    panels[0].legend(fontsize=7)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
