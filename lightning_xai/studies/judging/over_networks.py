"""Whether a number follows a score of the networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_xai.comparison.statistics.statistics import LEVEL, bootstrap, correlation
from lightning_xai.studies.claim import Outcome, Verdict
from lightning_xai.studies.findings import Findings

_FEWEST_TRAININGS = 6
_Point = tuple[float, float]


def over_networks(
    findings: Findings, values: Mapping[str, float], name: str, score: str, *, positive: bool = True
) -> Verdict:
    """Judge that values of networks rise (or fall) with a score of theirs: Spearman's correlation.

    With a network per training by its p-value, below .05. Networks of one training, after several epochs, are not
    independent: with these by a bootstrap over trainings, each drawn with all its networks. Undecided with fewer than
    six trainings, because no correlation of five reaches p < .05 but a perfect one.

    Args:
        findings: Of a study.
        values: Network -> number.
        name: Of the numbers, for what is said.
        score: Of the networks, such as ``"balanced_accuracy"``.
        positive: Whether they should rise.
    """
    trainings: dict[str, list[_Point]] = {}
    for model, value in values.items():
        known = findings.networks[model].scores.get(score, math.nan) if model in findings.networks else math.nan
        if not math.isnan(known) and not math.isnan(value):
            trainings.setdefault(findings.networks[model].training or model, []).append((known, value))
    points = [point for own in trainings.values() for point in own]
    rho, p, count = correlation([x for x, _ in points], [y for _, y in points], "spearman")
    said = f"Spearman {rho:+.2f} between {name} and {score}"
    if len(trainings) == count:
        sign = _sign(rho) if p < 1 - LEVEL else 0
        return Verdict(_outcome(sign, count, positive=positive), f"{said}, p = {p:.2g}, {count} networks")
    if len(trainings) < _FEWEST_TRAININGS:
        return Verdict("undecided", f"{said}, {count} networks, but of {len(trainings)} trainings alone")
    low, high = bootstrap(len(trainings), lambda places: _of_drawn(list(trainings.values()), places))
    said += f" [{low:+.2f}, {high:+.2f}], {count} networks of {len(trainings)} trainings"
    return Verdict(_outcome(int(low > 0) - int(high < 0), len(trainings), positive=positive), said)


def _of_drawn(trainings: Sequence[Sequence[_Point]], places: Tensor) -> Tensor:
    """Return the correlation over the networks of drawn trainings, (B,), places (B, T)."""
    from scipy.stats import rankdata

    found = []
    for drawn in places.tolist():
        points = [point for place in drawn for point in trainings[place]]
        ranks = torch.from_numpy(rankdata(points, axis=0))
        found.append(torch.corrcoef(ranks.T)[0, 1])  # NaN where a side is constant
    return torch.stack(found)


def _sign(value: float) -> int:
    return int(value > 0) - int(value < 0)


def _outcome(sign: int, trainings: int, *, positive: bool) -> Outcome:
    if not sign or trainings < _FEWEST_TRAININGS:
        return "undecided"
    return "supported" if (sign > 0) is positive else "contradicted"
