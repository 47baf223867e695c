"""Claims of the thesis that no general predicate says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lightning_xai.comparison.statistics.aggregates import costs
from lightning_xai.comparison.statistics.statistics import correlation
from lightning_xai.studies.claim import Outcome, Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.hirescam.theory import FIRST, FLATTEN, FLATTENED, GAP, LAST
from lightning_xai.studies.judging.contrast import combined, contrasts, gained, groups_of
from lightning_xai.studies.judging.predicates import exceeds

_EQUAL, _DIFFERENT = 1e-5, 1e-2  # relative: rounding of float32, and far beyond it
_FEWEST_MODELS = 6
_LEVEL = 0.05


def gap_maps_are_cam(findings: Findings, analysis: str) -> Verdict:
    """Judge Propositions 1 to 3: with GAP, at the last convolution, three maps are one, and sum to the score. Exact."""
    rows = findings.analyses[analysis].where(**{"structure": GAP, "explained at": LAST})
    found = [row[name] for row in rows for name in ("CAM", "maps", "grad_cam", "hires_cam")]
    why = f"greatest relative distance of CAM, Grad-CAM, HiResCAM and the class score: {max(found):.1e}"
    return Verdict("supported" if max(found) < _EQUAL else "contradicted", why)


def hires_cam_alone_is_the_score(findings: Findings, analysis: str) -> Verdict:
    """Judge Proposition 4: after Flatten, HiResCAM sums to the class score, and Grad-CAM does not. Exact."""
    rows = [
        row
        for row in findings.analyses[analysis].where(structure=FLATTEN)
        if row["explained at"] == FLATTENED or (row["explained at"] == LAST and row["network"] == "random")
    ]
    hires, grad = max(row["hires_cam"] for row in rows), min(row["grad_cam"] for row in rows)
    why = (
        f"{len(rows)} networks: the sum of HiResCAM is off the class score by at most {hires:.1e} of the greatest "
        f"score, that of Grad-CAM by at least {grad:.2f}"
    )
    return Verdict("supported" if hires < _EQUAL and grad > _DIFFERENT else "contradicted", why)


def table_1_holds(findings: Findings, analysis: str) -> Verdict:
    """Judge the other rows of Table 1: nowhere else are the maps equal, or is one of them the class score. Exact."""
    rows = findings.analyses[analysis].where(network="random")
    others = [row for row in rows if row["explained at"] == FIRST or (row["structure"] not in {GAP, FLATTEN})]
    equal = [f"{row['structure']}, {row['explained at']}" for row in others if row["maps"] < _EQUAL]
    sums = [row for row in others if min(row["grad_cam"], row["hires_cam"]) < _EQUAL]
    why = f"of {len(others)} other places, maps sum to the class score in {len(sums)} and are equal in {len(equal)}"
    return Verdict("contradicted" if equal or sums else "supported", why + "".join(f": {one}" for one in equal))


def exceeds_by_each(
    findings: Findings, part: str, metric: Sequence[str], explainer: str, than: str, share: float
) -> Verdict:
    """Judge that an explainer is better than another in a share of the networks by every single metric."""
    found = {name: exceeds(findings, part, name, explainer, than, share) for name in metric}
    outcomes = {one.outcome for one in found.values()}
    outcome: Outcome = "supported" if outcomes == {"supported"} else "undecided"
    why = "; ".join(f"{name}: {one.outcome}, {one.why.partition(' (')[0]}" for name, one in found.items())
    return Verdict("contradicted" if "contradicted" in outcomes else outcome, why)


def never_worse(findings: Findings, part: str, metric: Sequence[str], explainer: str, than: str) -> Verdict:
    """Judge that an explainer is nowhere worse than another: supported if it is worse in no network beyond errors.

    Contradicted if it is in one; undecided if it is neither better nor worse in most of them.
    """
    signs = [one.sign for name in metric for one in contrasts(findings, part, name, explainer, than)]
    why = f"better in {signs.count(1)}, worse in {signs.count(-1)} of {len(signs)} (metric, network)"
    if signs.count(-1):
        return Verdict("contradicted", why)
    return Verdict("supported" if 2 * signs.count(1) > len(signs) else "undecided", why)


def fades(findings: Findings, part: str, metric: str, than: Sequence[str], explainer: str, other: str) -> Verdict:
    """Judge that an explainer's advantage over another is greatest by the first metric, image by image.

    Supported if that advantage exceeds those by all others in more than half of the networks, beyond errors.
    """
    table, signs = findings.part(part), []
    for where, settings in groups_of(findings, part).items():
        for name in than:
            gains = [
                (gained(table, one, metric, explainer, other), gained(table, one, name, explainer, other))
                for one in settings
            ]
            rows = [first - second for first, second in gains if first is not None and second is not None]
            signs.append(combined(where, rows).sign)
    why = f"greater by {metric} in {signs.count(1)}, smaller in {signs.count(-1)} of {len(signs)} (network, other grid)"
    return Verdict(_by_half(signs), why)


def favours_neither(
    findings: Findings, part: str, metric: str, explainer: str, than: str, share: float = 0.75
) -> Verdict:
    """Judge that a metric does not favour one of two explainers.

    Supported if each is better beyond its errors in some network, contradicted if one is better in at least a share of
    all networks and the other one nowhere.
    """
    signs = [one.sign for one in contrasts(findings, part, metric, explainer, than)]
    better, worse = signs.count(1), signs.count(-1)
    why = f"{explainer} against {than} by {metric}: better in {better}, worse in {worse} of {len(signs)}"
    if better and worse:
        return Verdict("supported", why)
    return Verdict("contradicted" if max(better, worse) >= share * max(len(signs), 1) else "undecided", why)


def cheapest(findings: Findings, part: str, metric: str, parts: Sequence[str], than: Sequence[str]) -> Verdict:
    """Judge that a metric of a part needs fewer evaluations per image than some metrics of other parts: exact."""
    own = _evaluations(findings, part)[metric]
    costs_by_name = {name: value for one in parts for name, value in _evaluations(findings, one).items()}
    others = {name: costs_by_name[name] for name in than}
    said = ", ".join(f"{name} {value:.0f}" for name, value in others.items())
    outcome: Outcome = "supported" if all(own < value for value in others.values()) else "contradicted"
    return Verdict(outcome, f"evaluations per image: {metric} {own:.0f}; {said}")


def _evaluations(findings: Findings, part: str) -> dict[str, float]:
    """Return what each metric of a part costs alone: the greatest, as what cells share counts for the first of them."""
    found: dict[str, float] = {}
    for row in costs(findings.part(part)):
        if row["what"] != "explaining":
            found[row["what"]] = max(found.get(row["what"], 0.0), row["evaluations"])
    return found


def follows_score(
    findings: Findings,
    part: str,
    metric: Sequence[str],
    explainer: str,
    score: str = "balanced_accuracy",
    *,
    positive: bool = True,
) -> Verdict:
    """Judge that, over networks, the mean of several metrics rises (or falls) with a score: Spearman, p < .05."""
    table = findings.part(part)
    means: Mapping[str, float] = {
        one.model: sum(table.estimate(one, explainer, name).value for name in metric) / len(metric)
        for one in table.settings
    }
    known = {name: findings.networks[name].scores.get(score, math.nan) for name in means}
    pairs = [(known[name], value) for name, value in means.items() if not math.isnan(known[name])]
    value, p, count = correlation([x for x, _ in pairs], [y for _, y in pairs], "spearman")
    why = f"Spearman {value:+.2f} between the mean of {len(metric)} values and {score}, p = {p:.2g}, {count} networks"
    if count < _FEWEST_MODELS or not p < _LEVEL:
        return Verdict("undecided", why)
    return Verdict("supported" if (value > 0) is positive else "contradicted", why)


def _by_half(signs: Sequence[int]) -> Outcome:
    """Return whether more than half are 1, more than half −1, or neither."""
    if 2 * signs.count(1) > len(signs):
        return "supported"
    return "contradicted" if 2 * signs.count(-1) > len(signs) else "undecided"
