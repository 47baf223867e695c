"""Tables of the thesis whose numbers are no cells of a comparison: 4, 9 and 10."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from lightning_xai.comparison.cell import Setting
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.gains import groups_of
from lightning_xai.studies.reporting.derived_table import Numbers


def network_scores(
    findings: Findings, part: str, scores: Mapping[str, str], networks: Mapping[str, str] | None = None
) -> Numbers:
    """Return how well the networks of a part classify (Table 4): a row per score, a column per network.

    Args:
        findings: Of the study.
        part: Whose networks.
        scores: Of `scores_of` -> the thesis' word.
        networks: Group of networks -> the thesis' word; their own names if None.
    """
    columns = _groups(findings, part, networks)
    return {
        word: {title: score_of(findings, settings, name) for title, settings in columns.items()}
        for name, word in scores.items()
    }


def summary(
    findings: Findings,
    parts: Mapping[str, str],
    metrics: Mapping[str, Sequence[str]],
    explainers: Mapping[str, Mapping[str, str]],
    scores: Mapping[str, str],
    networks: Mapping[str, str] | None = None,
) -> Numbers:
    """Return scores of networks beside the means of several metrics of both explainers (Table 10).

    Args:
        findings: Of the study.
        parts: The thesis' word for a metric -> the part that has it.
        metrics: That word -> the metrics whose mean it is.
        explainers: That word -> name of an explainer in that part -> the thesis' word.
        scores: Of `scores_of` -> the thesis' word.
        networks: Group of networks -> the thesis' word; their own names if None.
    """
    first = next(iter(parts.values()))
    rows: dict[str, dict[str, Estimate]] = {
        title: {word: score_of(findings, settings, name) for name, word in scores.items()}
        for title, settings in _groups(findings, first, networks).items()
    }
    for word, part in parts.items():
        for title, settings in _groups(findings, part, networks).items():
            for name, explainer in explainers[word].items():
                rows[title][f"{word} · {explainer}"] = _mean_over(findings, part, settings, name, metrics[word])
    return rows


def extremes(findings: Findings, part: str, metric: str, explainer: str, data: Mapping[str, str]) -> Numbers:
    """Return the highest and lowest score of a metric over networks, and the AUC of these networks (Table 9).

    Args:
        findings: Of the study.
        part: Whose networks.
        metric: Its name.
        explainer: Its name.
        data: Name of the data -> the thesis' word.
    """
    table = findings.part(part)
    rows: dict[str, dict[str, Estimate]] = {}
    for name, word in data.items():
        found = [(table.estimate(one, explainer, metric), one) for one in table.settings if one.data == name]
        known = sorted((one for one in found if not math.isnan(one[0].value)), key=lambda one: one[0].value)
        for title, (estimate, setting) in (("Max", known[-1]), ("Min", known[0])) if known else ():
            rows.setdefault(f"{title} HAAS Score", {})[word] = estimate
            rows.setdefault(f"Mean AUC of {title.lower()}", {})[word] = score_of(findings, [setting], "auc")
    return rows


def score_of(findings: Findings, settings: Sequence[Setting], score: str) -> Estimate:
    """Return the mean of a score over trainings of a network, with the standard error between them."""
    known = [findings.networks[one.model].scores[score] for one in settings if findings.networks[one.model].scores]
    return _mean(known)


def _groups(findings: Findings, part: str, networks: Mapping[str, str] | None) -> dict[str, list[Setting]]:
    """Return the settings of each network, by the thesis' word for it."""
    found: dict[str, list[Setting]] = {}
    for settings in groups_of(findings, part).values():
        name = findings.group(settings[0].model)
        if networks is None or name in networks:
            found.setdefault(name if networks is None else networks[name], []).extend(settings)
    return found


def _mean_over(
    findings: Findings, part: str, settings: Sequence[Setting], explainer: str, metrics: Sequence[str]
) -> Estimate:
    """Return the mean over several metrics; with one training its error is that over images of the images' means."""
    table = findings.part(part)
    if len(settings) > 1:
        means = [[table.estimate(one, explainer, name).value for name in metrics] for one in settings]
        return _mean([sum(values) / len(values) for values in means])
    if len(metrics) == 1:
        return table.estimate(settings[0], explainer, metrics[0])
    cells = [table.of(settings[0], explainer, name) for name in metrics]
    rows = [table.metrics[n].per_image(one.rows) for n, one in zip(metrics, cells, strict=True) if one is not None]
    if len(rows) < len(metrics):
        return Estimate(math.nan)
    means_of_images = torch.stack(rows).double().mean(0)
    defined = means_of_images[~means_of_images.isnan()]
    return Estimate(float(defined.mean()), float(defined.std()) / math.sqrt(len(defined)))


def _mean(values: Sequence[float]) -> Estimate:
    if not values:
        return Estimate(math.nan)
    spread = torch.tensor(values, dtype=torch.float64)
    error = float(spread.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(spread.mean()), error)
