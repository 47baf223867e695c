"""What a claim can say about the numbers of a study, and when it is supported."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.statistics.aggregates import compared, costs, repeated
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.claim import Predicate, Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast
from lightning_xai.studies.judging.gains import contrast_of_networks, contrasts, groups_of
from lightning_xai.studies.judging.means import mean_of
from lightning_xai.studies.judging.over_networks import over_networks
from lightning_xai.studies.judging.verdict import (
    AtLeast,
    Exactly,
    Within,
    better_and_worse,
    counted,
    listed,
    outcome_of,
)


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
    return _mostly_better(f"{explainer} against {than}", found, share)


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
    return _mostly_better(explainer, found, share)


def _mostly_better(who: str, found: Sequence[tuple[str, Contrast]], share: float) -> Verdict:
    """Return the verdict that at least a share of some contrasts, each with its metric, is above 0."""
    judged = [one for _, one in found]
    words = [f"{name}, {one}" for name, one in found]
    return Verdict(outcome_of(judged, share), f"{who}: {better_and_worse(judged)} ({listed(words, judged)})")


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
    judged, words = [], []
    for name in _several(metric):
        pairs = {one: (one, explainer) if worst else (explainer, one) for one in others}
        against = {one: _by_group(contrasts(findings, part, name, *pair, **equal)) for one, pair in pairs.items()}
        for where, settings in groups_of(findings, part, **equal).items():
            once = set(others) - repeated(table, settings[0]) - _one_method(table, settings[0], explainer)
            found = [against[one][where] for one in others if one in once and where in against[one]]
            signs = [one.sign() for one in found]
            behind, ahead = (signs.count(-1), signs.count(1)) if worst else (signs.count(1), signs.count(-1))
            judged.append(AtLeast(found, len(found) - places + 1))
            words.append(f"{name}, {where}: ahead of it {ahead}, behind it {behind} of {len(found)}")
    head = f"{explainer} is among the {'worst' if worst else 'best'} {places}: {counted(judged)}"
    return Verdict(outcome_of(judged, share), f"{head} ({listed(words, judged)})")


def bounded(
    findings: Findings,
    part: str,
    metric: str | Sequence[str],
    explainer: str | Sequence[str],
    above: float = -math.inf,
    below: float = math.inf,
    share: float = 1.0,
    *,
    is_share: bool = False,
    **equal: Any,
) -> Verdict:
    """Judge that a mean lies between two bounds, for each metric, explainer and network: see `mean_of`.

    With ``is_share`` it is that of a metric that is 0 or 1 for each image.
    """
    table = findings.part(part)
    judged, words = [], []
    for where, settings in groups_of(findings, part, **equal).items():
        for name in _several(metric):
            for one in _several(explainer):
                found = mean_of(where, table, settings, one, name, is_share=is_share)
                judged.append(Within(found, above, below))
                words.append(f"{name}, {one}, {where}: {found.value:.3g} [{found.low:.3g}, {found.high:.3g}]")
    return Verdict(outcome_of(judged, share), f"{counted(judged)} ({listed(words, judged)})")


def one_method(findings: Findings, part: str, explainers: Sequence[str], share: float = 1.0, **equal: Any) -> Verdict:
    """Judge that explainers give one heatmap, up to its scale, for every image: exact, without errors."""
    table = findings.part(part)
    judged, words = [], []
    for where, settings in groups_of(findings, part, **equal).items():
        are_one = all(set(explainers) <= _one_method(table, one, explainers[0]) for one in settings)
        judged.append(Exactly(are_one))
        words.append(f"{where}: {'one method' if are_one else 'different'}")
    return Verdict(outcome_of(judged, share), f"{' = '.join(explainers)}: {counted(judged)} ({listed(words, judged)})")


def correlates(
    findings: Findings,
    part: str,
    metric: str,
    explainer: str,
    score: str = "balanced_accuracy",
    *,
    positive: bool = True,
) -> Verdict:
    """Judge that, over networks, a metric rises (or falls) with a score of the networks: see `over_networks`.

    The metric's own values count, whatever its direction.
    """
    table = findings.part(part)
    values = {one.model: table.estimate(one, explainer, metric).value for one in table.settings}
    return over_networks(findings, values, f"{metric} of {explainer}", score, positive=positive)


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


def _one_method(table: ComparisonTable, setting: Setting, explainer: str) -> set[str]:
    return {explainer, *(name for group in table.equal_methods(setting) if explainer in group for name in group)}


def _by_group(found: Iterable[Contrast]) -> dict[str, Contrast]:
    return {one.where: one for one in found}


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


PREDICATES: dict[str, Predicate] = {
    one.__name__: one for one in (exceeds, better_on, among_best, bounded, one_method, correlates, cheaper, open_here)
}
