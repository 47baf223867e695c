"""Claims about which class is explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.probing.target import TargetRule
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.false_sense.values import values_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.contrast import Contrast, combined
from lightning_xai.studies.judging.gains import groups_of
from lightning_xai.studies.judging.verdict import counted, listed, outcome_of


def shifted(
    findings: Findings,
    part: str,
    explainers: Sequence[str],
    target: TargetRule,
    than: TargetRule,
    within: Mapping[str, Sequence[float]],
    share: float = 1.0,
    **equal: Any,
) -> Verdict:
    """Judge that metrics change by amounts between bounds where another class of the same images is explained.

    Args:
        findings: Of a study.
        part: Its name.
        explainers: Over which the change is a mean.
        target: The rule which class is explained.
        than: The rule with which it is compared.
        within: Metric -> least and greatest change of its value, in its own unit and direction.
        share: Of all metrics and networks.
        **equal: See `groups_of`.
    """
    table, judged, words = findings.part(part), [], []
    for metric, (low, high) in within.items():
        for settings in groups_of(findings, part, target=target, **equal).values():
            others = [Setting(one.model, one.data, one.transform, than) for one in settings]
            rows = [_change(table, one, other, metric, explainers) for one, other in zip(settings, others, strict=True)]
            found = combined(findings.group(settings[0].model), rows)
            judged.append(_Between(found, low, high))
            words.append(f"{metric}, {found}")
    return Verdict(outcome_of(judged, share), f"{target} − {than}: {counted(judged)} ({listed(words, judged)})")


def _change(table: ComparisonTable, setting: Setting, other: Setting, metric: str, explainers: Sequence[str]) -> Tensor:
    """Return the change of each image, mean over explainers, (n,); NaN if it is undefined with either class."""
    first, second = (values_of(table, one, metric, explainers, oriented=False) for one in (setting, other))
    return (first - second).nanmean(0)


@dataclass(frozen=True)
class _Between:
    """Whether a change lies between two bounds, which it may reach."""

    change: Contrast
    low: float
    high: float

    def sign(self, tests: int = 1) -> int:
        low, high = self.change.ends(tests)
        return int(self.low <= low and high <= self.high) - int(high < self.low or low > self.high)
