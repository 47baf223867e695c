"""Claims about values and the probability of the explained class, over images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.metrics.correlation import spearman
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.false_sense.values import values_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import resampled
from lightning_xai.studies.judging.gains import groups_of
from lightning_xai.studies.judging.verdict import verdict_of


def follows_probability(
    findings: Findings,
    part: str,
    metric: Sequence[str],
    explainers: Sequence[str],
    share: float = 1.0,
    *,
    positive: bool = True,
    **equal: Any,
) -> Verdict:
    """Judge that a metric's own value rises (or falls) with the probability: the mean Spearman ρ of the methods."""
    table, found, sign = findings.part(part), [], 1.0 if positive else -1.0
    for name in metric:
        for where, settings in groups_of(findings, part, **equal).items():
            trainings = []
            for one in settings:
                values, probabilities = _with_probabilities(table, one, name, explainers)
                trainings.append((len(probabilities), partial(_scaled_rho, sign, values, probabilities)))
            found.append((name, resampled(where, trainings)))
    head = f"{'ρ' if positive else '−ρ'} with the probability, mean over {', '.join(explainers)}"
    return verdict_of(found, head, share)


def follows_more(
    findings: Findings, part: str, metric: str, than: str, explainers: Sequence[str], **equal: Any
) -> Verdict:
    """Judge that one metric rises more with the probability than another one: the difference of mean Spearman ρ."""
    table, found = findings.part(part), []
    for where, settings in groups_of(findings, part, **equal).items():
        trainings = []
        for one in settings:
            own, probabilities = _with_probabilities(table, one, metric, explainers)
            other, _ = _with_probabilities(table, one, than, explainers)
            trainings.append((len(probabilities), partial(_rho_gap, own, other, probabilities)))
        found.append((f"{metric} − {than}", resampled(where, trainings)))
    return verdict_of(found, f"difference of ρ with the probability, mean over {', '.join(explainers)}")


def _with_probabilities(
    table: ComparisonTable, setting: Setting, metric: str, explainers: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return the values of a metric, (E, n), and the probabilities of the explained classes, (n,)."""
    known = [found for one in explainers if (found := table.values.get((Cell(setting, one), metric))) is not None]
    probabilities = known[0].facts.probabilities.double() if known else torch.empty(0, dtype=torch.float64)
    return values_of(table, setting, metric, explainers, oriented=False), probabilities


def _scaled_rho(sign: float, values: Tensor, probabilities: Tensor, places: Tensor) -> Tensor:
    return sign * mean_rho(values, probabilities, places)


def _rho_gap(own: Tensor, other: Tensor, probabilities: Tensor, places: Tensor) -> Tensor:
    return mean_rho(own, probabilities, places) - mean_rho(other, probabilities, places)


def mean_rho(values: Tensor, probabilities: Tensor, places: Tensor) -> Tensor:
    """Return the mean over explainers of Spearman's correlation over drawn images, (B,).

    Args:
        values: (E, n); images without a value for an explainer take their probability out of its ranks too.
        probabilities: (n,).
        places: (B, n).
    """
    of_explainers = []
    for row in values:
        defined = ~row.isnan()
        if bool(defined.all()):
            of_explainers.append(spearman(row[places].float(), probabilities[places].float()))
        else:
            one_by_one = [_rho_of_defined(row, probabilities, drawn[defined[drawn]]) for drawn in places]
            of_explainers.append(torch.stack(one_by_one))
    return torch.stack(of_explainers).nanmean(0)


def _rho_of_defined(row: Tensor, probabilities: Tensor, drawn: Tensor) -> Tensor:
    if len(drawn) < 3:
        return torch.tensor(torch.nan)
    return spearman(row[drawn][None].float(), probabilities[drawn][None].float())[0]
