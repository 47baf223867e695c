"""Precision of the binarized heatmap."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.annotations import masks_of_boxes
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class BinarizedPrecision(ExplanationMetric):
    """Do the hot pixels lie in the object's box?

    Share of the pixels with ``m ≥ threshold · max m`` that lie in one of the image's boxes, in [0, 1], higher is
    better. Undefined where the maximum is not positive or there is no box. Fake-CAM scores the boxes' share of the
    image: read it beside the controls.

    Evaluations per image: none.

    Source: Nagy, Nimara and Qian, "Analysis and Evaluation of Grad-CAM Explanations", table 5, who report it for
    methods whose maps give no box.

    Args:
        threshold: Share of the maximum from which pixels are hot.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is not in (0, 1].

    Example:
        >>> metric = BinarizedPrecision()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 0.9, 1.0, 0.8]]]), boxes=torch.tensor([[2, 0, 4, 1]]))
        >>> metric.compute()  # the second and third pixel are hot
        tensor(0.5000)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "boxes"})
    can_be_undefined = True

    def __init__(self, threshold: float = 0.85, **options: Unpack[MetricOptions]) -> None:
        check_at_least(threshold, 0.0, "threshold", strict=True)
        if threshold > 1:
            raise ValueError(f"Expected `threshold` to be a share of the maximum, at most 1, but got {threshold}.")
        super().__init__(**options)
        self.threshold = threshold

    def score(self, case: Case) -> Tensor:
        """Return the share of hot pixels in the boxes, (N,)."""
        heatmaps, boxes = case.heatmaps, case.boxes
        inside = masks_of_boxes(boxes, (heatmaps.shape[1], heatmaps.shape[2])).flatten(1)
        heat = heatmaps.flatten(1)
        peak = heat.amax(1, keepdim=True)
        hot = heat >= self.threshold * peak
        annotated = ~boxes.isnan().any(2).all(1)
        return torch.where((peak[:, 0] > 0) & annotated, (hot & inside).sum(1) / hot.sum(1), torch.nan)
