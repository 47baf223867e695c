"""How much one explainer exceeds another by a metric, over images and over trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_xai.comparison.cell import NO_TRANSFORM, Setting
from lightning_xai.comparison.statistics.statistics import bootstrap
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.metrics.estimate import undefined_rows
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.studies.findings import Findings

FEWEST_TRAININGS = 6
_NORMAL = 1.959963984540054  # 97.5 % of a normal distribution lies below

Statistic: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contrast:
    """A difference with a 95 % interval, so that positive is better.

    Attributes:
        where: The networks, the data and what else a group of settings shares.
        value: Mean over images and trainings; NaN if undefined.
        low: Lower end of the interval.
        high: Upper end of it.
        trainings: How many networks of other seeds it is a mean over.
        p: Of Student's test over the means of at least six trainings; NaN with fewer.
    """

    where: str
    value: float
    low: float
    high: float
    trainings: int
    p: float = math.nan

    @property
    def sign(self) -> int:
        """1 or −1 if the interval excludes 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    def __str__(self) -> str:
        """Return it in words."""
        p = "" if math.isnan(self.p) else f", p = {self.p:.2g}"
        return f"{self.where}: {self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}]{p}"


def groups_of(findings: Findings, part: str, **equal: object) -> dict[str, list[Setting]]:
    """Return the settings of a part that differ by the seed of training alone, by what they share.

    Args:
        findings: Of a study.
        part: Its name.
        **equal: ``model`` (its group), ``data``, ``transform`` or ``target`` that settings must have.
    """
    found: dict[str, list[Setting]] = {}
    for setting in findings.part(part).settings:
        shared = {
            "model": findings.group(setting.model),
            "data": setting.data,
            "transform": setting.transform,
            "target": setting.target,
        }
        if all(shared[name] in _several(value) for name, value in equal.items()):
            words = [str(word) for name, word in shared.items() if (name, word) != ("transform", NO_TRANSFORM)]
            found.setdefault(" · ".join(words), []).append(setting)
    return found


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else [value]


def contrasts(
    findings: Findings, part: str, metric: str, explainer: str, than: str, **equal: object
) -> Iterator[Contrast]:
    """Yield how much better one explainer is than another by a metric, for each group of settings.

    With one training the interval is a bootstrap over images. With several the mean of their differences counts, with
    the larger of two standard errors: that of its images, and, of at least two, that between trainings (by Student's
    distribution).
    """
    table = findings.part(part)
    for where, settings in groups_of(findings, part, **equal).items():
        rows = [found for one in settings if (found := gained(table, one, metric, explainer, than)) is not None]
        if rows:
            yield combined(where, rows)


def contrast_of_networks(
    findings: Findings, part: str, metric: str, explainer: str, model: str, than: str, **equal: object
) -> Iterator[Contrast]:
    """Yield how much better an explainer does on one network than on another, paired by the images that both explain.

    Trainings are paired in their order. Rows are those of groups that differ in nothing but the network.
    """
    table = findings.part(part)
    own = groups_of(findings, part, model=model, **equal)
    other = groups_of(findings, part, model=than, **equal)
    for (where, settings), references in zip(own.items(), other.values(), strict=True):
        pairs = zip(settings, references, strict=False)
        rows = [gain for one, two in pairs if (gain := _paired(table, (one, two), metric, explainer)) is not None]
        if rows:
            yield combined(f"{where}, than {than}", rows)


def _paired(table: ComparisonTable, settings: tuple[Setting, Setting], metric: str, explainer: str) -> Tensor | None:
    own, other = (table.of(setting, explainer, metric) for setting in settings)
    return None if own is None or other is None else _gain(table.metrics[metric], own.rows, other.rows)


def gained(table: ComparisonTable, setting: Setting, metric: str, explainer: str, than: str) -> Tensor | None:
    """Return by how much an explainer is better than another for each image that is defined in both, (n,) float64."""
    own, other = table.of(setting, explainer, metric), table.of(setting, than, metric)
    if own is None or other is None:
        return None
    return _gain(table.metrics[metric], own.rows, other.rows)


def _gain(metric: ExplanationMetric, rows: Tensor, others: Tensor) -> Tensor:
    defined = ~(undefined_rows(rows) | undefined_rows(others))
    gain = metric.per_image(rows[defined]).double() - metric.per_image(others[defined]).double()
    return gain if metric.higher_is_better else -gain


def combined(where: str, rows: Sequence[Tensor]) -> Contrast:
    """Return the contrast of gains per image of one or several trainings."""
    rows = [one for one in rows if len(one)]
    if not rows:
        return Contrast(where, math.nan, math.nan, math.nan, 0)
    means = torch.stack([one.mean() for one in rows])
    value = float(means.mean())
    if len(rows) == 1:
        low, high = bootstrap(len(rows[0]), lambda places: rows[0][places].mean(1))
        return Contrast(where, value, low, high, 1)
    of_images = math.sqrt(sum(float(one.var()) / len(one) for one in rows if len(one) > 1)) / len(rows)
    half = max(_NORMAL * of_images, _student(len(rows) - 1) * float(means.std()) / math.sqrt(len(rows)))
    return Contrast(where, value, value - half, value + half, len(rows), _p_over_trainings(means))


def resampled(where: str, trainings: Sequence[tuple[int, Statistic]]) -> Contrast:
    """Return the contrast of a statistic that is no mean over images, such as a correlation.

    With one training the interval is a bootstrap over images. With several the mean of their statistics counts, with
    the larger of two standard errors: that of the images, by the same bootstrap, and that between trainings.

    Args:
        where: See `Contrast`.
        trainings: Of each the number n of images, and the statistic: of places (B, n) of drawn images it returns (B,).
    """
    values = [float(statistic(torch.arange(count)[None])[0]) for count, statistic in trainings]
    ends = [bootstrap(count, statistic) for count, statistic in trainings]
    defined = [(value, low, high) for value, (low, high) in zip(values, ends, strict=True) if not math.isnan(value)]
    if not defined:
        return Contrast(where, math.nan, math.nan, math.nan, 0)
    if len(defined) == 1:
        return Contrast(where, *defined[0], 1)
    means = torch.tensor([value for value, _, _ in defined], dtype=torch.float64)
    errors = [(high - low) / (2 * _NORMAL) for _, low, high in defined if not math.isnan(high - low)]
    of_images = math.sqrt(sum(one**2 for one in errors)) / len(defined)
    half = max(_NORMAL * of_images, _student(len(means) - 1) * float(means.std()) / math.sqrt(len(means)))
    value = float(means.mean())
    return Contrast(where, value, value - half, value + half, len(means), _p_over_trainings(means))


def _student(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def _p_over_trainings(means: Tensor) -> float:
    from scipy.stats import ttest_1samp

    if len(means) < FEWEST_TRAININGS or float(means.std()) == 0:
        return math.nan
    return float(ttest_1samp(means.numpy(), 0.0).pvalue)
