"""Weakly supervised localization by a box around the hottest region."""

from __future__ import annotations

from typing import Any, Literal

import torch
from scipy import ndimage
from torch import Tensor

from lightning_xai._checks import check_at_least, check_choice, check_maps
from lightning_xai.evidence.annotations import check_boxes
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.metrics.metric import ExplanationMetric

_SLACK, _SLACK_SIDE = 10.0, 224.0


def box_localization(heatmaps: Tensor, boxes: Tensor, *, threshold: float = 0.15) -> tuple[Tensor, Tensor]:
    """Return whether each heatmap's box fits an annotated one, and how well; see `BoxLocalization`.

    Args:
        heatmaps: Floating point (N, H, W).
        boxes: x0, y0, x1, y1 in pixels, ends exclusive, (N, 4) or (N, M, 4) padded with NaN.
        threshold: Share of the maximum above which pixels count as hot.

    Returns:
        Correct, float32 (N,) in {0, 1}, and best IoU, float32 (N,) in [0, 1]; NaN where there is no box.

    Example:
        >>> heatmaps = torch.tensor([[[0.0, 1.0, 1.0, 0.0]]])
        >>> box_localization(heatmaps, torch.tensor([[[1.0, 0.0, 4.0, 1.0]]]))
        (tensor([1.]), tensor([0.6667]))
    """
    _check_threshold(threshold)
    boxes = check_boxes(boxes, check_maps(heatmaps, None, "heatmaps"))
    found = torch.stack([_hot_box(heatmap, threshold) for heatmap in heatmaps.float()]).to(boxes)
    overlap = _iou(found[:, None], boxes)
    best, index = overlap.nan_to_num(-1.0).max(1)
    size = (boxes[..., 2:] - boxes[..., :2])[torch.arange(len(boxes)), index]
    slack = _SLACK * min(heatmaps.shape[1:]) / _SLACK_SIDE
    needed = (size.prod(1) / (size + slack).prod(1)).clamp(max=0.5)
    correct = (best >= needed).float()
    absent = best < 0
    return correct.masked_fill(absent, torch.nan), best.masked_fill(absent, torch.nan)


def _check_threshold(threshold: float) -> None:
    check_at_least(threshold, 0.0, "threshold", strict=True)
    if threshold > 1:
        raise ValueError(f"Expected `threshold` to be a share of the maximum, at most 1, but got {threshold}.")


def _hot_box(heatmap: Tensor, threshold: float) -> Tensor:
    """Return the box of the largest 8-connected hot region; without area if no heat is positive."""
    peak = heatmap.max()
    if not peak > 0:
        return torch.zeros(4)
    labels, count = ndimage.label((heatmap >= threshold * peak).cpu().numpy(), structure=[[1, 1, 1]] * 3)
    sizes = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
    rows, columns = ndimage.find_objects(labels)[int(sizes.argmax())]
    return torch.tensor([columns.start, rows.start, columns.stop, rows.stop], dtype=torch.float32)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


class BoxLocalization(ExplanationMetric):
    """Does a box around the hottest region find the object?

    Pixels with ``m ≥ threshold · max m`` are hot; the box of their largest 8-connected region is compared with the
    annotated boxes. Correct if the best IoU reaches ``min(0.5, wh / ((w + 10)(h + 10)))`` of that box (the slack of 10
    pixels scaled by min(H, W) / 224); 0 where the maximum is not positive; undefined without a box. The mean is the
    accuracy in [0, 1], higher is better; the localization error is 1 − accuracy, and `mean_iou` the mean best IoU.
    Fake-CAM scores like a box around the whole image: read it beside the controls.

    Evaluations per image: none; 1 with ``top_k``.

    Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015,
    https://arxiv.org/abs/1409.0575, with the threshold of Selvaraju et al., https://arxiv.org/abs/1610.02391.

    Args:
        threshold: Share of the maximum above which pixels are hot; 0.15, 0.5 for chest X-rays.
        top_k: Also ask for the target among the 1 or 5 most probable classes; None asks for the box alone.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` or ``top_k`` is out of range.

    Example:
        >>> metric = BoxLocalization()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 1.0, 1.0, 0.0]]]), boxes=torch.tensor([[1, 0, 3, 1]]))
        >>> metric.compute(), metric.mean_iou()
        (tensor(1.), tensor(1.))
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"masks"})
    can_be_undefined = True

    def __init__(self, threshold: float = 0.15, top_k: Literal[1, 5] | None = None, **kwargs: Any) -> None:
        _check_threshold(threshold)
        check_choice(top_k, (None, 1, 5), "top_k")
        evidence = [] if top_k is None else [Logits()]
        super().__init__(evidence, {"threshold": threshold, "top_k": top_k}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return correctness and best IoU, (N, 2)."""
        correct, iou = box_localization(case.heatmaps, case.boxes, threshold=self.settings["threshold"])
        top_k = self.settings["top_k"]
        if top_k is not None:
            logits: Tensor = case[self.evidence[0]]
            named = logits.topk(min(top_k, logits.shape[1])).indices == case.target[:, None]
            correct = correct * named.any(1)
        return torch.stack([correct, iou], 1)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean correctness."""
        return rows[:, 0].nanmean()

    def mean_iou(self) -> Tensor:
        """Return the mean of the best IoU over the images so far on this process."""
        rows = self.rows
        return rows[:, 1].nanmean() if len(rows) else rows.new_tensor(torch.nan)
