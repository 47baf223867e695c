"""Attribution localization."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.localization.relevance_mass_accuracy import share_of_heat_inside
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = AttributionLocalization(weighted=True)
        >>> heatmaps, masks = torch.tensor([[[1.0, 3.0, -5.0, 0.0]]]), torch.tensor([[[False, True, True, False]]])
        >>> metric.update(heatmaps=heatmaps, masks=masks)
        >>> metric.compute()  # 3/4 of the heat on 1/2 of the image
        tensor(1.5000)
    """

    higher_is_better = True
    range = (0.0, float("inf"))
    inputs = frozenset({"heatmaps", "masks"})
    can_be_undefined = True

    def __init__(self, weighted: bool = False, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.weighted = weighted

    def score(self, case: Case) -> Tensor:
        """Return the share of heat in the mask, (N,), over that of the image if weighted."""
        share = share_of_heat_inside(case.heatmaps, case.masks)
        return share / case.masks.flatten(1).float().mean(1) if self.weighted else share
