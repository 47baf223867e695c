"""Relevance mass accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


class RelevanceMassAccuracy(ExplanationMetric):
    """How much of the heat lies on the object?

    Positive heat inside the mask over all positive heat (the energy-based pointing game), in [0, 1], higher is better.
    Undefined without positive heat or without a mask. Fake-CAM scores the object's share of the image: read it beside
    the controls.

    Evaluations per image: none.

    Source: Arras et al., "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", Information Fusion 2022, https://arxiv.org/abs/2003.07258.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = RelevanceMassAccuracy()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0, -5.0]]]), masks=torch.tensor([[[False, True, True]]]))
        >>> metric.compute()  # negative heat does not count
        tensor(0.7500)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "masks"})
    can_be_undefined = True
    in_default_suite = True

    def score(self, case: Case) -> Tensor:
        """Return the share of heat in the mask, (N,)."""
        return share_of_heat_inside(case.heatmaps, case.masks)


def share_of_heat_inside(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of each heatmap's positive heat inside its mask, (N,); NaN without heat or without a mask."""
    heat, inside = heatmaps.flatten(1).relu(), masks.flatten(1)
    total = heat.sum(1)
    defined = (total > 0) & inside.any(1)
    return torch.where(defined, (heat * inside).sum(1) / torch.where(total > 0, total, 1.0), torch.nan)
