"""Precision of the binarized heatmap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least, check_maps
from lightning_xai.evidence.annotations import check_boxes, masks_of_boxes
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


def binarized_precision(heatmaps: Tensor, boxes: Tensor, *, threshold: float = 0.85) -> Tensor:
    """Return the share of each heatmap's hot pixels in its boxes, float32 (N,) in [0, 1]; see `BinarizedPrecision`.

    Args:
        heatmaps: Floating point (N, H, W).
        boxes: x0, y0, x1, y1 in pixels, ends exclusive, (N, 4) or (N, M, 4) padded with NaN.
        threshold: Share of the maximum from which pixels are hot.

    Raises:
        ValueError: If ``threshold`` is not in (0, 1].

    Example:
        >>> binarized_precision(torch.tensor([[[0.0, 0.9, 1.0, 0.8]]]), torch.tensor([[2, 0, 4, 1]]))
        tensor([0.5000])
    """
    _check_threshold(threshold)
    boxes = check_boxes(boxes, check_maps(heatmaps, None, "heatmaps"))
    heat = heatmaps.flatten(1).float()
    inside = masks_of_boxes(boxes, (heatmaps.shape[1], heatmaps.shape[2])).flatten(1)
    peak = heat.amax(1, keepdim=True)
    hot = heat >= threshold * peak
    annotated = ~boxes.isnan().any(2).all(1)
    return torch.where((peak[:, 0] > 0) & annotated, (hot & inside).sum(1) / hot.sum(1), torch.nan)


def _check_threshold(threshold: float) -> None:
    check_at_least(threshold, 0.0, "threshold", strict=True)
    if threshold > 1:
        raise ValueError(f"Expected `threshold` to be a share of the maximum, at most 1, but got {threshold}.")


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` is not in (0, 1].

    Example:
        >>> metric = BinarizedPrecision()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 0.9, 1.0, 0.8]]]), boxes=torch.tensor([[1, 0, 4, 1]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"masks"})
    can_be_undefined = True

    def __init__(self, threshold: float = 0.85, **kwargs: Any) -> None:
        _check_threshold(threshold)
        super().__init__(settings={"threshold": threshold}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the share of hot pixels in the boxes, (N,)."""
        return binarized_precision(case.heatmaps, case.boxes, threshold=self.settings["threshold"])
