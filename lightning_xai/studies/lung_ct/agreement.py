"""Whether networks explain one image alike."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any

import torch

from lightning_xai.comparison.records import Records
from lightning_xai.studies.analysis import AnalysisContext
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.findings import Findings

_NORMAL = 1.959963984540054
_SUBSTANTIAL = 0.5
_COLUMNS = ("first", "second", "correlation", "error", "pairs")


def between_networks(context: AnalysisContext, part: str, explainer: str) -> Records:
    """Return how much the heatmaps of two networks agree on one image, mean over images and pairs of trainings.

    A network and itself are its trainings from different seeds: what is left to chance. The standard error is the
    larger of two: that over images of a pair, and that between pairs.
    """
    findings = context.findings
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in findings.part(part).agreement("models").where(explainer=explainer):
        if row["second"] in findings.networks:  # and not all others together
            pairs.setdefault((findings.group(row["first"]), findings.group(row["second"])), []).append(row)
    names = list(dict.fromkeys(findings.group(name) for name in findings.networks))
    rows = [
        (first, second, *_mean(found))
        for first, second in combinations_with_replacement(names, 2)
        if (found := [*pairs.get((first, second), []), *(pairs.get((second, first), []) if first != second else [])])
    ]
    return Records(_COLUMNS, tuple(rows), "Agreement of networks")


def _mean(found: list[dict[str, Any]]) -> tuple[float, float, int]:
    values = torch.tensor([row["value"] for row in found], dtype=torch.float64)
    between = float(values.std()) / math.sqrt(len(found)) if len(found) > 1 else 0.0
    return float(values.mean()), max(between, max(row["error"] for row in found)), len(found)


def varies(findings: Findings, analysis: str, below: float = _SUBSTANTIAL) -> Verdict:
    """Judge that each two networks agree by less than a bound, and by less than two trainings of either agree."""
    rows = findings.analyses[analysis]
    alone = {row["first"]: row for row in rows if row["first"] == row["second"]}
    signs, words = [], []
    for row in rows:
        words.append(f"{row['first']}, {row['second']}: {row['correlation']:.2f} ± {row['error']:.2f}")
        if row["first"] != row["second"]:
            own = [alone[name] for name in (row["first"], row["second"]) if name in alone]
            signs.append(_sign(row, [(below, 0.0), *((one["correlation"], one["error"]) for one in own)]))
    if signs and min(signs) == 1:
        return Verdict("supported", "; ".join(words))
    return Verdict("contradicted" if -1 in signs else "undecided", "; ".join(words))


def _sign(row: dict[str, Any], bounds: list[tuple[float, float]]) -> int:
    """Return 1 if a correlation lies below all bounds beyond the errors of both, −1 if it lies above one of them."""
    gaps = [(bound - row["correlation"], _NORMAL * math.hypot(error, row["error"])) for bound, error in bounds]
    return int(all(gap > half for gap, half in gaps)) - int(any(gap < -half for gap, half in gaps))
