"""Figures of the study: ranks of a method by each metric, and how metrics agree about methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_xai.comparison.statistics.statistics import bootstrap, correlation
from lightning_xai.studies.false_sense.families import ranks_among
from lightning_xai.studies.false_sense.values import resampled_means, values_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.reporting.printed import read_printed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TABLE = "table_1"
_HERE, _PAPER = "#1f5fa8", "#c4521a"


def ranks_of_one(
    findings: Findings, part: str, explainer: str, words: Mapping[str, str], metrics: Mapping[str, str]
) -> Figure:
    """Draw the rank of an explainer among the paper's methods by each metric, with 95 % intervals over images.

    Args:
        findings: Of the study.
        part: Of its first network.
        explainer: Whose rank.
        words: Explainer -> the paper's word; those that Table 1 has are ranked.
        metrics: Metric -> the paper's word.
    """
    from matplotlib.figure import Figure

    names = _of_paper(words)
    figure = Figure(figsize=(7.5, 0.42 * len(metrics) + 1.4), layout="constrained")
    axes = figure.subplots()
    for place, (metric, title) in enumerate(metrics.items()):
        value, low, high = _rank_of(findings, part, explainer, metric, names)
        axes.plot([low, high], [place, place], color=_HERE, linewidth=2)
        axes.plot(value, place, "o", color=_HERE, label="here" if place == 0 else None)
        paper = _paper_means(title, names, words)
        if paper is not None:
            rank = float(ranks_among(paper.view(1, -1, 1))[0, names.index(explainer), 0])
            axes.plot(rank, place, "D", color=_PAPER, markerfacecolor="none", label="paper" if place == 0 else None)
    axes.axvline(len(names) / 2 + 0.5, color="0.8", linestyle=":")
    axes.set(yticks=range(len(metrics)), yticklabels=list(metrics.values()), xlim=(0.5, len(names) + 0.5))
    axes.set(
        xticks=range(1, len(names) + 1), xlabel=f"rank of {words[explainer]} among {len(names)} methods (1 is best)"
    )
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.93")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def metric_correlations(findings: Findings, part: str, words: Mapping[str, str], metrics: Mapping[str, str]) -> Figure:
    """Draw Spearman's correlations between metrics over the paper's methods, here and of the paper's Table 1."""
    from matplotlib.figure import Figure

    names = _of_paper(words)
    here = {title: _means(findings, part, metric, names) for metric, title in metrics.items()}
    known = {title: _paper_means(title, names, words) for title in metrics.values()}
    paper = {title: one for title, one in known.items() if one is not None}
    figure = Figure(figsize=(12.5, 6.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[len(here), len(paper)])
    _draw_correlations(left, here, "here")
    _draw_correlations(right, paper, "paper, Table 1")
    return figure


def best_and_worst(
    findings: Findings, part: str, explainers: Sequence[str], metrics: Sequence[str], **normalization: Any
) -> Figure:
    """Draw for each metric the best image of the best method and the worst of the worst (Figure 1).

    Args:
        findings: Of the study.
        part: Of its first network.
        explainers: Methods that stand for their families.
        metrics: Several.
        **normalization: ``mean`` and ``std`` of the images; see `ComparisonTable.plot`.
    """
    table = findings.part(part)
    first = table.settings[0].model
    return table.only(models=first, explainers=explainers, metrics=metrics).plot("extremes", **normalization)


def over_probability(findings: Findings, part: str, explainers: Sequence[str], metrics: Sequence[str]) -> Figure:
    """Draw the values of the images over the probability of the class (Figure 2), of the part's first network."""
    table = findings.part(part)
    return table.only(models=table.settings[0].model, explainers=explainers, metrics=metrics).plot("probability")


def _of_paper(words: Mapping[str, str]) -> list[str]:
    """Return the explainers that the paper's Table 1 has."""
    rows = {row for row, _ in _paper()}
    return [name for name, word in words.items() if word in rows]


def _paper() -> Mapping[tuple[str, str], float]:
    printed = read_printed(Path(__file__).parent / "printed.csv")[_TABLE]
    return {place: one.value for place, one in printed.items()}


def _paper_means(title: str, names: Sequence[str], words: Mapping[str, str]) -> Tensor | None:
    """Return a column of the paper's Table 1, (E,), in which higher is better; None if it has none."""
    numbers = _paper()
    values = [numbers.get((words[name], title)) for name in names]
    return None if None in values else torch.tensor(values, dtype=torch.float64)


def _values(findings: Findings, part: str, metric: str, names: Sequence[str]) -> list[Tensor]:
    table = findings.part(part)
    return [values_of(table, setting, metric, names) for setting in table.settings]


def _means(findings: Findings, part: str, metric: str, names: Sequence[str]) -> Tensor:
    """Return the means of explainers over images and trainings, (E,), so that higher is better."""
    return torch.stack([one.nanmean(1) for one in _values(findings, part, metric, names)]).nanmean(0)


def _rank_of(
    findings: Findings, part: str, explainer: str, metric: str, names: Sequence[str]
) -> tuple[float, float, float]:
    """Return the rank of an explainer and its interval over images, those of all trainings drawn alike."""
    trainings, place = _values(findings, part, metric, names), names.index(explainer)

    def rank(places: Tensor) -> Tensor:
        means = torch.stack([resampled_means(one, places) for one in trainings]).nanmean(0)
        return ranks_among(means[None])[0, place]

    count = trainings[0].shape[1]
    low, high = bootstrap(count, rank)
    return float(rank(torch.arange(count)[None])[0]), low, high


def _draw_correlations(axes: Axes, means: Mapping[str, Tensor], title: str) -> None:
    names = list(means)
    axes.set_title(title)
    axes.set(xticks=range(len(names)), yticks=range(len(names)), yticklabels=names)
    axes.set_xticklabels(names, rotation=45, ha="right")
    rows = [[correlation(means[a].tolist(), means[b].tolist(), "spearman")[0] for b in names] for a in names]
    axes.imshow(rows, vmin=-1, vmax=1, cmap="RdBu_r")
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            text = "–" if value != value else f"{value:.2f}".replace("-", "−")
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="w" if abs(value) > 0.7 else "k")
