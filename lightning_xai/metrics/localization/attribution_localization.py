"""Attribution localization."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.annotations import check_masks
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.localization.relevance_mass_accuracy import relevance_mass_accuracy
from lightning_xai.metrics.metric import ExplanationMetric


def attribution_localization(heatmaps: Tensor, masks: Tensor, *, weighted: bool = False) -> Tensor:
    """Return how much positive heat lies inside each mask, float32 (N,) ≥ 0; see `AttributionLocalization`.

    Args:
        heatmaps: Floating point (N, H, W).
        masks: Boolean (N, H, W).
        weighted: Whether the share of the heat is divided by the object's share of the image.

    Example:
        >>> import torch
        >>> heatmaps, masks = torch.tensor([[[1.0, 3.0, -5.0, 0.0]]]), torch.tensor([[[False, True, True, False]]])
        >>> attribution_localization(heatmaps, masks), attribution_localization(heatmaps, masks, weighted=True)
        (tensor([0.7500]), tensor([1.5000]))
    """
    share = relevance_mass_accuracy(heatmaps, masks)
    if not weighted:
        return share
    return share / check_masks(masks, heatmaps).flatten(1).float().mean(1)


class AttributionLocalization(ExplanationMetric):
    """How much of the heat lies on the object, for the object's size?

    Positive heat inside the mask over all positive heat, μ in [0, 1]; weighted, μ · HW / area of the mask, ≥ 0, where 1
    is chance whatever the object's size. Higher is better. Undefined without positive heat or without a mask. Fake-CAM
    scores chance. Unweighted it equals `RelevanceMassAccuracy`.

    Evaluations per image: none.

    Source: Kohlbrenner et al., "Towards Best Practice in Explaining Neural Network Decisions with LRP", IJCNN 2020,
    https://arxiv.org/abs/1910.09840. Quantus 0.6 and torchxai-tools 0.1 weigh by the size of the batch, too.

    Args:
        weighted: Whether the share of the heat is divided by the object's share of the image.
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = AttributionLocalization(weighted=True)
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0]]]), masks=torch.tensor([[[False, True]]]))
        >>> metric.compute()
        tensor(1.5000)
    """

    higher_is_better = True
    range = (0.0, float("inf"))
    needs = frozenset({"masks"})
    can_be_undefined = True

    def __init__(self, weighted: bool = False, **kwargs: Any) -> None:
        super().__init__(settings={"weighted": weighted}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the share of heat in the mask, (N,)."""
        return attribution_localization(case.heatmaps, case.masks, weighted=self.settings["weighted"])
