"""Sparseness."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_maps
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


def sparseness(heatmaps: Tensor) -> Tensor:
    """Return the Gini index of each heatmap, float32 (N,) in [0, 1], higher is sparser; see `Sparseness`.

    Args:
        heatmaps: Floating point (N, H, W).

    Example:
        >>> sparseness(torch.tensor([[[0.0, 0.0, 0.0, 1.0]], [[1.0, 1.0, 1.0, 1.0]]]))
        tensor([0.7500, 0.0000])
    """
    heat = check_maps(heatmaps, None, "heatmaps").flatten(1).float().abs().sort(dim=1).values
    count = heat.shape[1]
    weights = 2.0 * torch.arange(1, count + 1, device=heat.device) - count - 1.0
    total = heat.sum(1)
    gini = (heat / total[:, None] * weights).sum(1) / count
    return torch.where(total > 0, gini.clamp(0.0, 1.0), torch.nan)


class Sparseness(ExplanationMetric):
    """Does the heatmap put its heat into few pixels?

    Gini index of ``|m|``: ``Σ_i (2i − N − 1) a_(i) / (N Σ a)`` with a sorted ascending; 0 for a constant map, (N−1)/N
    for one hot pixel, in [0, 1], higher is sparser. A zero map is undefined. Fake-CAM scores near 0. A sparse map need
    not be a faithful one.

    Evaluations per image: none.

    Source: Chalasani et al., "Concise Explanations of Neural Networks using Adversarial Training", ICML 2020,
    https://arxiv.org/abs/1810.06583.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = Sparseness()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
        >>> metric.compute()
        tensor(0.7500)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the Gini index, (N,)."""
        return sparseness(case.heatmaps)
