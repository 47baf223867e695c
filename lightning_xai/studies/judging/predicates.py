"""What a claim can say about the numbers of a study, and when it is supported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import torch

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.statistics.aggregates import compared, costs, repeated
from lightning_xai.comparison.statistics.statistics import correlation
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.claim import Predicate, Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast, contrast_of_networks, contrasts, groups_of
from lightning_xai.studies.judging.verdict import counted, listed, outcome_of

_FEWEST_MODELS = 6
_LEVEL = 0.05
_NORMAL = 1.959963984540054  # 97.5 % of a normal distribution lies below


def exceeds(
    findings: Findings,
    part: str,
    metric: str | Sequence[str],
    explainer: str,
    than: str,
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that an explainer is better than another, by each metric, in at least a share of the networks.

    Better is what the metric's direction says. Supported if enough intervals lie above 0, contradicted if so many lie
    below that the share cannot be reached.
    """
    found = [
        (name, one) for name in _several(metric) for one in contrasts(findings, part, name, explainer, than, **equal)
    ]
    signs = [one.sign for _, one in found]
    head = f"{explainer} against {than}: better in {signs.count(1)}, worse in {signs.count(-1)} of {len(signs)}"
    return Verdict(outcome_of(signs, share), f"{head} ({listed([f'{name}, {one}' for name, one in found])})")


def better_on(
    findings: Findings,
    part: str,
    metric: str | Sequence[str],
    explainer: str,
    model: str | Sequence[str],
    than: str | Sequence[str],
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that an explainer does better on each of some networks than on each of others, on the same images."""
    found = [
        (name, one)
        for name in _several(metric)
        for first, second in product(_several(model), _several(than))
        for one in contrast_of_networks(findings, part, name, explainer, first, second, **equal)
    ]
    signs = [one.sign for _, one in found]
    head = f"{explainer}: better in {signs.count(1)}, worse in {signs.count(-1)} of {len(signs)}"
    return Verdict(outcome_of(signs, share), f"{head} ({listed([f'{name}, {one}' for name, one in found])})")


def among_best(
    findings: Findings,
    part: str,
    metric: str | Sequence[str],
    explainer: str,
    places: int = 1,
    among: Sequence[str] | None = None,
    share: float = 1.0,
    *,
    worst: bool = False,
    **equal: Any,
) -> Verdict:
    """Judge that an explainer is among the best ``places`` (or the worst ones) by each metric in a share of networks.

    In a network it holds if all but ``places`` − 1 others are worse beyond their errors, and fails if ``places`` others
    are better beyond their errors. Explainers that are one method count once, and not against themselves.
    """
    table = findings.part(part)
    others = [one for one in among or compared(table, controls=False) if one != explainer]
    signs, words = [], []
    for name in _several(metric):
        against = {one: _by_group(contrasts(findings, part, name, explainer, one, **equal)) for one in others}
        for where, settings in groups_of(findings, part, **equal).items():
            once = set(others) - repeated(table, settings[0]) - _one_method(table, settings[0], explainer)
            found = [against[one][where].sign for one in others if one in once and where in against[one]]
            ahead, behind = (found.count(1), found.count(-1)) if worst else (found.count(-1), found.count(1))
            holds, fails = len(found) - behind < places, ahead >= places
            signs.append(int(holds) - int(fails) if found else 0)
            words.append(f"{name}, {where}: ahead of it {ahead}, behind it {behind} of {len(found)}")
    head = f"{explainer} is among the {'worst' if worst else 'best'} {places}: {counted(signs)}"
    return Verdict(outcome_of(signs, share), f"{head} ({listed(words)})")


def bounded(
    findings: Findings,
    part: str,
    metric: str | Sequence[str],
    explainer: str | Sequence[str],
    above: float = -math.inf,
    below: float = math.inf,
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that a mean lies between two bounds, for each metric, explainer and network, by ±1.96 standard errors."""
    table = findings.part(part)
    signs, words = [], []
    for where, settings in groups_of(findings, part, **equal).items():
        for name in _several(metric):
            for one in _several(explainer):
                value, error = _mean(table, settings, one, name)
                inside = above < value - _NORMAL * error and value + _NORMAL * error < below
                outside = value + _NORMAL * error < above or value - _NORMAL * error > below
                signs.append(0 if math.isnan(value) else int(inside) - int(outside))
                words.append(f"{name}, {one}, {where}: {value:.3g} ± {error:.2g}")
    return Verdict(outcome_of(signs, share), f"{counted(signs)} ({listed(words)})")


def one_method(findings: Findings, part: str, explainers: Sequence[str], share: float = 1.0, **equal: Any) -> Verdict:
    """Judge that explainers give one heatmap, up to its scale, for every image: exact, without errors."""
    table = findings.part(part)
    signs, words = [], []
    for where, settings in groups_of(findings, part, **equal).items():
        are_one = all(set(explainers) <= _one_method(table, one, explainers[0]) for one in settings)
        signs.append(1 if are_one else -1)
        words.append(f"{where}: {'one method' if are_one else 'different'}")
    return Verdict(outcome_of(signs, share), f"{' = '.join(explainers)}: {counted(signs)} ({listed(words)})")


def correlates(
    findings: Findings,
    part: str,
    metric: str,
    explainer: str,
    score: str = "balanced_accuracy",
    *,
    positive: bool = True,
) -> Verdict:
    """Judge that, over networks, a metric rises (or falls) with a score of the networks: Spearman, p < .05.

    The metric's own values count, whatever its direction. Undecided with fewer than six networks, because no
    correlation of five reaches p < .05 but a perfect one.
    """
    table = findings.part(part)
    pairs = [
        (findings.networks[one.model].scores[score], table.estimate(one, explainer, metric).value)
        for one in table.settings
        if score in findings.networks[one.model].scores
    ]
    value, p, count = correlation([x for x, _ in pairs], [y for _, y in pairs], "spearman")
    why = f"Spearman {value:+.2f} between {metric} of {explainer} and {score}, p = {p:.2g}, {count} networks"
    if count < _FEWEST_MODELS or not p < _LEVEL:
        return Verdict("undecided", why)
    return Verdict("supported" if (value > 0) is positive else "contradicted", why)


def cheaper(
    findings: Findings, part: str, what: str, than: str | Sequence[str], factor: float = 1.0, *, of: str = "metric"
) -> Verdict:
    """Judge that a metric (or explaining by an explainer) costs at most 1/``factor`` of others' evaluations: exact."""
    others = _several(than)
    means = {name: _evaluations(findings, part, name, of) for name in (what, *others)}
    unknown = [name for name, value in means.items() if math.isnan(value)]
    if unknown:
        return Verdict("undecided", f"no cost is known of {', '.join(unknown)}")
    holds = all(means[what] * factor <= means[one] for one in others)
    words = ", ".join(f"{name} {value:.1f}" for name, value in means.items())
    return Verdict("supported" if holds else "contradicted", f"evaluations per image: {words}")


def open_here(findings: Findings, why: str) -> Verdict:  # noqa: ARG001 - every predicate takes them
    """Leave a claim undecided that this scale cannot speak about, with the reason."""
    return Verdict("undecided", why)


def _evaluations(findings: Findings, part: str, name: str, of: str) -> float:
    column, what = ("what", name) if of == "metric" else ("explainer", name)
    rows = costs(findings.part(part)).where(**{column: what})
    own = [row["evaluations"] for row in rows if of == "metric" or row["what"] == "explaining"]
    # what several cells share counts for the first that asked: the greatest is what it costs alone
    return max(own, default=math.nan)


def _mean(table: ComparisonTable, settings: Sequence[Setting], explainer: str, metric: str) -> tuple[float, float]:
    """Return the mean over trainings of a metric, and its standard error: the larger of images' and trainings'."""
    known = [table.estimate(one, explainer, metric) for one in settings]
    values = torch.tensor([one.value for one in known], dtype=torch.float64)
    of_images = math.sqrt(sum(one.error**2 for one in known)) / len(known)  # NaN where an image is alone
    of_trainings = float(values.std()) / math.sqrt(len(known)) if len(known) > 1 else 0.0
    error = of_trainings if math.isnan(of_images) and len(known) > 1 else max(of_images, of_trainings)
    return float(values.mean()), error


def _one_method(table: ComparisonTable, setting: Setting, explainer: str) -> set[str]:
    return {explainer, *(name for group in table.equal_methods(setting) if explainer in group for name in group)}


def _by_group(found: Iterable[Contrast]) -> dict[str, Contrast]:
    return {one.where: one for one in found}


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


PREDICATES: dict[str, Predicate] = {
    one.__name__: one for one in (exceeds, better_on, among_best, bounded, one_method, correlates, cheaper, open_here)
}
