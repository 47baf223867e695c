"""Claims of the thesis that no general predicate says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_xai.comparison.statistics.aggregates import costs
from lightning_xai.studies.claim import Outcome, Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.hirescam.theory import FIRST, FLATTEN, FLATTENED, GAP, LAST
from lightning_xai.studies.judging.contrast import combined
from lightning_xai.studies.judging.gains import contrasts, gained, groups_of
from lightning_xai.studies.judging.over_networks import over_networks
from lightning_xai.studies.judging.verdict import AtLeast, better_and_worse, listed, of_share, outcome_of

_EQUAL, _DIFFERENT = 1e-5, 1e-2  # relative: rounding of float32, and far beyond it


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
    found = {name: list(contrasts(findings, part, name, explainer, than)) for name in metric}
    by_metric = {name: of_share(several, share) for name, several in found.items()}
    words = [f"{name}: {outcome_of([one])}, {better_and_worse(found[name])}" for name, one in by_metric.items()]
    return Verdict(outcome_of(list(by_metric.values())), "; ".join(words))


def never_worse(findings: Findings, part: str, metric: Sequence[str], explainer: str, than: str) -> Verdict:
    """Judge that an explainer is nowhere worse than another by the mean of some metrics, beyond errors.

    Contradicted if it is worse in a network; supported if it is not and better in more than half; else undecided.
    """
    table, found = findings.part(part), []
    for where, settings in groups_of(findings, part).items():
        rows = [[gained(table, one, name, explainer, than) for name in metric] for one in settings]
        found.append(combined(where, [torch.stack(known).mean(0) for one in rows if (known := _all_known(one))]))
    why = f"{better_and_worse(found)} networks ({listed(list(map(str, found)), found)})"
    if any(one.sign(len(found)) < 0 for one in found):
        return Verdict("contradicted", why)
    is_mostly_better = AtLeast(found, len(found) // 2 + 1).sign() == 1 and all(one.sign() >= 0 for one in found)
    return Verdict("supported" if is_mostly_better else "undecided", why)


def _all_known(gains: Sequence[Tensor | None]) -> list[Tensor]:
    """Return gains by several metrics; nothing if one is missing."""
    known = [one for one in gains if one is not None]
    return known if len(known) == len(gains) else []


def fades(findings: Findings, part: str, metric: str, than: Sequence[str], explainer: str, other: str) -> Verdict:
    """Judge that an explainer's advantage over another is greatest by the first metric, image by image.

    Supported if that advantage exceeds those by all others in more than half of the networks, beyond errors.
    """
    table, found = findings.part(part), []
    for where, settings in groups_of(findings, part).items():
        for name in than:
            gains = [
                (gained(table, one, metric, explainer, other), gained(table, one, name, explainer, other))
                for one in settings
            ]
            rows = [first - second for first, second in gains if first is not None and second is not None]
            found.append(combined(where, rows))
    signs = [one.sign() for one in found]
    why = f"greater by {metric} in {signs.count(1)}, smaller in {signs.count(-1)} of {len(signs)} (network, other grid)"
    return Verdict(outcome_of([AtLeast(found, len(found) // 2 + 1)]), why)


def favours_neither(
    findings: Findings, part: str, metric: str, explainer: str, than: str, share: float = 0.75
) -> Verdict:
    """Judge that a metric does not favour one of two explainers.

    Supported if each is better beyond its errors in some network, contradicted if one is better in at least a share of
    all networks and the other one nowhere.
    """
    found = list(contrasts(findings, part, metric, explainer, than))
    turned = list(contrasts(findings, part, metric, than, explainer))
    why = f"{explainer} against {than} by {metric}: {better_and_worse(found)}"
    if all(AtLeast(one, 1).sign() == 1 for one in (found, turned)):
        return Verdict("supported", why)
    is_one_sided = len({one.sign() for one in found} - {0}) == 1
    favoured = is_one_sided and any(of_share(one, share).sign() == 1 for one in (found, turned))
    return Verdict("contradicted" if favoured else "undecided", why)


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
    """Judge that, over networks, the mean of several metrics rises (or falls) with a score: see `over_networks`."""
    table = findings.part(part)
    means = {
        one.model: sum(table.estimate(one, explainer, name).value for name in metric) / len(metric)
        for one in table.settings
    }
    return over_networks(findings, means, f"the mean of {len(metric)} values", score, positive=positive)
