"""The mean of a metric over images and trainings, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Setting
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.metrics.estimate import jackknife_error, undefined_rows
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.studies.judging.contrast import Contrast, quantile, several, undefined


def mean_of(
    where: str,
    table: ComparisonTable,
    settings: Sequence[Setting],
    explainer: str,
    metric: str,
    *,
    is_share: bool = False,
) -> Contrast:
    """Return the value of a metric with its interval, over the trainings that settings are.

    With one training, Student's over images; of a share of images Wilson's, which has a width also where all images
    are alike. With several, as of a contrast: around their mean, with both errors.

    Args:
        where: See `Contrast`.
        table: Of the values.
        settings: Of one network, one for each training.
        explainer: Its name.
        metric: Its name.
        is_share: Whether the metric is 0 or 1 for each image.
    """
    cells = [found for one in settings if (found := table.of(one, explainer, metric)) is not None]
    rows = [found.rows for found in cells if not bool(undefined_rows(found.rows).all())]
    if not rows:
        return undefined(where)
    if len(rows) > 1:
        score = table.metrics[metric]
        means = torch.tensor([score.estimate(one).value for one in rows], dtype=torch.float64)
        left_out = torch.stack([_left_out(score, one) for one in rows]).mean(0)
        return several(where, means, float(jackknife_error(left_out)))
    defined = rows[0][~undefined_rows(rows[0])]
    freedom = len(defined) - 1
    if is_share:
        low, high = wilson(int(defined.sum()), len(defined))
        return Contrast(where, float(defined.double().mean()), low, high, 1, freedom=freedom)
    known = table.metrics[metric].estimate(rows[0])
    half = quantile(freedom) * known.error if freedom else math.nan
    return Contrast(where, known.value, known.value - half, known.value + half, 1, freedom=freedom)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.

    Example:
        >>> [round(end, 3) for end in wilson(0, 48)]
        [0.0, 0.074]
    """
    square, share = quantile(math.inf) ** 2, hits / count
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = math.sqrt(square * (share * (1 - share) / count + square / (4 * count**2))) / (1 + square / count)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _left_out(metric: ExplanationMetric, rows: Tensor) -> Tensor:
    """Return the value without each image, (n,) float64; without an undefined one it is that of all."""
    defined = ~undefined_rows(rows)
    values = torch.full((len(rows),), metric.estimate(rows).value, dtype=torch.float64)
    if int(defined.sum()) > 1:
        values[defined] = metric.left_out(rows[defined]).double()
    return values
