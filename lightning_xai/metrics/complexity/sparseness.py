"""Sparseness."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


class Sparseness(ExplanationMetric):
    """Does the heatmap put its heat into few pixels?

    Gini index of ``|m|``: ``Σ_i (2i − N − 1) a_(i) / (N Σ a)`` with a sorted ascending; 0 for a constant map, (N−1)/N
    for one hot pixel, in [0, 1], higher is sparser. A zero map is undefined. Fake-CAM scores near 0. A sparse map need
    not be a faithful one.

    Evaluations per image: none.

    Source: Chalasani et al., "Concise Explanations of Neural Networks using Adversarial Training", ICML 2020,
    https://arxiv.org/abs/1810.06583.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = Sparseness()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
        >>> metric.compute()  # one hot pixel of four
        tensor(0.7500)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True
    in_default_suite = True

    def score(self, case: Case) -> Tensor:
        """Return the Gini index, (N,)."""
        heat = case.heatmaps.flatten(1).abs().sort(dim=1).values
        pixels = heat.shape[1]
        weights = 2.0 * torch.arange(1, pixels + 1, device=heat.device) - pixels - 1.0
        total = heat.sum(1)
        gini = (heat / total[:, None] * weights).sum(1) / pixels
        return torch.where(total > 0, gini.clamp(0.0, 1.0), torch.nan)
