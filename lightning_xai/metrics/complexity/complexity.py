"""Complexity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_maps
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


def complexity(heatmaps: Tensor) -> Tensor:
    """Return the entropy of each heatmap in nats, float32 (N,) in [0, ln HW], lower is simpler; see `Complexity`.

    Args:
        heatmaps: Floating point (N, H, W).

    Example:
        >>> complexity(torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]]))
        tensor([0.0000, 0.6931])
    """
    heat = check_maps(heatmaps, None, "heatmaps").flatten(1).float().abs()
    total = heat.sum(1)
    shares = heat / torch.where(total > 0, total, 1.0)[:, None]
    return torch.where(total > 0, torch.special.entr(shares).sum(1), torch.nan)


class Complexity(ExplanationMetric):
    """How many pixels does the heatmap ask its reader to look at?

    Entropy of ``|m| / Σ|m|`` in nats: 0 for one hot pixel, ln(HW) for a constant map; lower is simpler. A zero map is
    undefined. Fake-CAM scores worst. A simple map need not be a faithful one.

    Evaluations per image: none.

    Source: Bhatt et al., "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020,
    https://arxiv.org/abs/2005.00631.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = Complexity()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 1.0]]]))
        >>> metric.compute()
        tensor(0.6931)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    can_be_undefined = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the entropy, (N,)."""
        return complexity(case.heatmaps)
