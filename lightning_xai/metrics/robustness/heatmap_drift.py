"""Heatmap drift between epochs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric

_LARGEST = 56


class HeatmapDrift(ExplanationMetric):
    """How much did the explanation of the same image move since the last explained epoch?

    1 − Spearman's correlation (average ranks) between this epoch's heatmap and the previous one of the same image and
    class, both as `compact` keeps them; in [0, 2], without direction: 0 is an explanation that stands still, which is
    good at the end of training and suspicious at its start. Undefined where a heatmap is constant or there is no
    previous one. Fake-CAM stands still for ever.

    Evaluations per image: none.

    Source: this package.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = HeatmapDrift()
        >>> heatmaps = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> metric.update(heatmaps=heatmaps, previous_heatmaps=torch.tensor([[[1.0, 9.0, 5.0]]]))
        >>> metric.compute()  # two neighbours in rank have changed places
        tensor(0.5000)
    """

    higher_is_better = None
    range = (0.0, 2.0)
    inputs = frozenset({"heatmaps", "previous_heatmaps"})
    can_be_undefined = True
    in_default_suite = True

    def score(self, case: Case) -> Tensor:
        """Return the drift, (N,)."""
        previous = case.previous_heatmaps
        size = (min(previous.shape[1], _LARGEST), min(previous.shape[2], _LARGEST))
        return 1.0 - spearman(compact(case.heatmaps, size).float(), compact(previous, size).float())


def compact(heatmaps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Return heatmaps (N, H, W) as they are kept between epochs: averaged to at most 56×56, peak 1, float16.

    Args:
        heatmaps: Floating point (N, H, W).
        size: Height and width to return; each side at most 56 if None.
    """
    if size is None:
        size = (min(heatmaps.shape[1], _LARGEST), min(heatmaps.shape[2], _LARGEST))
    pooled = F.adaptive_avg_pool2d(heatmaps.float(), size)
    peak = pooled.flatten(1).abs().amax(1)[:, None, None]
    return torch.where(peak > 0, pooled / peak, pooled).half()
