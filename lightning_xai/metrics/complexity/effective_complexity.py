"""Effective complexity."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class EffectiveComplexity(ExplanationMetric):
    """How many pixels carry any heat at all?

    Number of pixels with ``|m| > threshold · max |m|``; from 1 to HW, lower is simpler. A zero map is undefined.
    Fake-CAM scores worst but for one pixel. A simple map need not be a faithful one.

    Evaluations per image: none.

    Source: Nguyen & Martínez, "On quantitative aspects of model interpretability", 2020,
    https://arxiv.org/abs/2007.07584, with a threshold relative to the map: an absolute one counts the map's scale.

    Args:
        threshold: Share of the largest magnitude that a pixel must exceed.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is not in [0, 1).

    Example:
        >>> metric = EffectiveComplexity()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 2.0, -0.5, 1e-6]]]))
        >>> metric.compute()  # 1e-6 is not above 1e-5 of 2
        tensor(2.)
    """

    higher_is_better = False
    range = (1.0, float("inf"))
    can_be_undefined = True

    def __init__(self, threshold: float = 1e-5, **options: Unpack[MetricOptions]) -> None:
        check_at_least(threshold, 0.0, "threshold")
        if threshold >= 1:
            raise ValueError(f"Expected `threshold` to be a share of the maximum, below 1, but got {threshold}.")
        super().__init__(**options)
        self.threshold = threshold

    def score(self, case: Case) -> Tensor:
        """Return the number of pixels, (N,)."""
        heat = case.heatmaps.flatten(1).abs()
        peak = heat.amax(1, keepdim=True)
        return torch.where(peak[:, 0] > 0, (heat > self.threshold * peak).sum(1).float(), torch.nan)
