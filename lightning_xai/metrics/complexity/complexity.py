"""Complexity."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


class Complexity(ExplanationMetric):
    """How many pixels does the heatmap ask its reader to look at?

    Entropy of ``|m| / Σ|m|`` in nats: 0 for one hot pixel, ln(HW) for a constant map; lower is simpler. A zero map is
    undefined. Fake-CAM scores worst. A simple map need not be a faithful one.

    Evaluations per image: none.

    Source: Bhatt et al., "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020,
    https://arxiv.org/abs/2005.00631.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = Complexity()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, -1.0]]]))
        >>> metric.compute()  # ln 2
        tensor(0.6931)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    can_be_undefined = True
    in_default_suite = True

    def score(self, case: Case) -> Tensor:
        """Return the entropy, (N,)."""
        heat = case.heatmaps.flatten(1).abs()
        total = heat.sum(1)
        shares = heat / torch.where(total > 0, total, 1.0)[:, None]
        return torch.where(total > 0, torch.special.entr(shares).sum(1), torch.nan)
