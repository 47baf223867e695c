"""How much a number that needs binary heatmaps depends on where they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import combined
from lightning_xai.studies.judging.gains import groups_of
from lightning_xai.studies.judging.verdict import listed, outcome_of


def reacts_most(
    findings: Findings, part: str, metrics: Sequence[Sequence[str]], explainer: str, than: Sequence[str], **equal: Any
) -> Verdict:
    """Judge that, on average, an explainer's values move more than others' between two percentiles, image by image.

    Args:
        findings: Of the study.
        part: The comparison.
        metrics: Pairs of metrics that differ in the percentile; the mean of their movements counts.
        explainer: Of which it is claimed.
        than: The others, each of which has to move less on each network.
        **equal: See `groups_of`.
    """
    table = findings.part(part)
    found = [
        combined(f"than {other}, {where}", [_further(table, one, metrics, explainer, other) for one in settings])
        for where, settings in groups_of(findings, part, **equal).items()
        for other in than
    ]
    signs = [one.sign() for one in found]
    head = f"{explainer} moves more in {signs.count(1)}, less in {signs.count(-1)} of {len(signs)}"
    return Verdict(outcome_of(found), f"{head} ({listed(list(map(str, found)), found)})")


def _further(
    table: ComparisonTable, setting: Setting, metrics: Sequence[Sequence[str]], explainer: str, other: str
) -> Tensor:
    """Return by how much more an explainer moves than another, mean over pairs of metrics; NaN if one is undefined."""
    moves = [_moved(table, setting, pair, explainer) - _moved(table, setting, pair, other) for pair in metrics]
    return torch.stack(moves).mean(0)


def _moved(table: ComparisonTable, setting: Setting, pair: Sequence[str], explainer: str) -> Tensor:
    low, high = (table.values[Cell(setting, explainer), metric].rows.double() for metric in pair)
    return (high - low).abs()
