"""Relevance mass accuracy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_maps
from lightning_xai.evidence.annotations import check_masks
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


def relevance_mass_accuracy(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of positive heat inside each mask, float32 (N,) in [0, 1]; see `RelevanceMassAccuracy`.

    Args:
        heatmaps: Floating point (N, H, W).
        masks: Boolean (N, H, W).

    Example:
        >>> relevance_mass_accuracy(torch.tensor([[[1.0, 3.0, -5.0]]]), torch.tensor([[[False, True, True]]]))
        tensor([0.7500])
    """
    heat = check_maps(heatmaps, None, "heatmaps").flatten(1).float().relu()
    inside = check_masks(masks, heatmaps).flatten(1)
    total = heat.sum(1)
    defined = (total > 0) & inside.any(1)
    return torch.where(defined, (heat * inside).sum(1) / torch.where(total > 0, total, 1.0), torch.nan)


class RelevanceMassAccuracy(ExplanationMetric):
    """How much of the heat lies on the object?

    Positive heat inside the mask over all positive heat (the energy-based pointing game), in [0, 1], higher is better.
    Undefined without positive heat or without a mask. Fake-CAM scores the object's share of the image: read it beside
    the controls.

    Evaluations per image: none.

    Source: Arras et al., "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", Information Fusion 2022, https://arxiv.org/abs/2003.07258.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = RelevanceMassAccuracy()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0]]]), masks=torch.tensor([[[False, True]]]))
        >>> metric.compute()
        tensor(0.7500)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"masks"})
    can_be_undefined = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the share of heat in the mask, (N,)."""
        return relevance_mass_accuracy(case.heatmaps, case.masks)
