"""How much a number that needs binary heatmaps depends on where they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import combined, groups_of


def reacts_most(
    findings: Findings, part: str, metrics: Sequence[Sequence[str]], explainer: str, than: Sequence[str], **equal: Any
) -> Verdict:
    """Judge that an explainer's values move more than others' between two percentiles, image by image.

    Args:
        findings: Of the study.
        part: The comparison.
        metrics: Pairs of metrics that differ in the percentile.
        explainer: Of which it is claimed.
        than: The others, each of which has to move less.
        **equal: See `groups_of`.
    """
    found = []
    for where, settings in groups_of(findings, part, **equal).items():
        for first, second in metrics:
            for other in than:
                rows = [_moved(findings.part(part), one, (first, second), (explainer, other)) for one in settings]
                found.append(combined(f"{first} to {second}, than {other}, {where}", rows))
    signs = [one.sign for one in found]
    head = f"{explainer} moves more in {signs.count(1)}, less in {signs.count(-1)} of {len(signs)}"
    why = f"{head} ({'; '.join(map(str, found))})"
    if signs and min(signs) == 1:
        return Verdict("supported", why)
    return Verdict("contradicted" if -1 in signs else "undecided", why)


def _moved(table: ComparisonTable, setting: Setting, metrics: tuple[str, str], explainers: tuple[str, str]) -> Tensor:
    """Return by how much more the first explainer moves than the second, for each image defined in all, (n,)."""
    moves = []
    for explainer in explainers:
        low, high = (table.values[Cell(setting, explainer), metric].rows.double() for metric in metrics)
        moves.append((high - low).abs())
    difference = moves[0] - moves[1]
    return difference[~difference.isnan()]
