"""Weakly supervised localization by a box around the hottest region."""

from __future__ import annotations

from typing import Literal

import torch
from scipy import ndimage
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least, check_choice
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_SLACK, _SLACK_SIDE = 10.0, 224.0


class BoxLocalization(ExplanationMetric):
    """Does a box around the hottest region find the object?

    Pixels with ``m ≥ threshold · max m`` are hot; the box of their largest 8-connected region is compared with the
    annotated boxes. Correct if its IoU with any of them reaches that box's own ``min(0.5, wh / ((w + 10)(h + 10)))``
    (the slack of 10 pixels scaled by min(H, W) / 224), be it the best IoU or not: a further annotated object takes no
    hit away. 0 where the maximum is not positive; undefined without a box. The mean is the accuracy in [0, 1], higher
    is better; the localization error is 1 − accuracy, and `mean_iou` the mean best IoU. Fake-CAM scores like a box
    around the whole image: read it beside the controls.

    Evaluations per image: none; 1 with ``top_k``.

    Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015,
    https://arxiv.org/abs/1409.0575, with the threshold of Selvaraju et al., https://arxiv.org/abs/1610.02391.

    Args:
        threshold: Share of the maximum above which pixels are hot; 0.15, 0.5 for chest X-rays.
        top_k: Also ask for the target among the 1 or 5 most probable classes; None asks for the box alone.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``threshold`` or ``top_k`` is out of range.

    Example:
        >>> metric = BoxLocalization()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 1.0, 1.0, 0.0]]]), boxes=torch.tensor([[1, 0, 4, 1]]))
        >>> metric.compute(), metric.mean_iou()
        (tensor(1.), tensor(0.6667))
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "boxes"})
    optional_inputs = frozenset({"model", "images", "target"})
    columns = ("hit", "iou")
    can_be_undefined = True
    in_default_suite = True

    def __init__(
        self, threshold: float = 0.15, top_k: Literal[1, 5] | None = None, **options: Unpack[MetricOptions]
    ) -> None:
        check_at_least(threshold, 0.0, "threshold", strict=True)
        if threshold > 1:
            raise ValueError(f"Expected `threshold` to be a share of the maximum, at most 1, but got {threshold}.")
        check_choice(top_k, (None, 1, 5), "top_k")
        super().__init__(**options)
        self.threshold = threshold
        self.top_k: Literal[1, 5] | None = top_k
        self.logits = None if top_k is None else Logits()

    @property
    def all_inputs(self) -> frozenset[str]:
        """Fields of a case that the metric reads: with ``top_k`` also the target, and what the logits come from."""
        return super().all_inputs if self.top_k is None else super().all_inputs | {"target"}

    def score(self, case: Case) -> Tensor:
        """Return correctness and best IoU, (N, 2)."""
        heatmaps, boxes = case.heatmaps, case.boxes
        hot = torch.stack([_hot_box(heatmap, self.threshold) for heatmap in heatmaps]).to(boxes)
        iou = _iou(hot[:, None], boxes).nan_to_num(-1.0)  # below what any box needs, where there is none
        size = boxes[..., 2:] - boxes[..., :2]
        slack = _SLACK * min(heatmaps.shape[1:]) / _SLACK_SIDE
        needed = (size.prod(2) / (size + slack).prod(2)).clamp(max=0.5)
        best = iou.amax(1)
        rows = torch.stack([(iou >= needed).any(1).float() * self._is_named(case), best], 1)
        return rows.masked_fill(best[:, None] < 0, torch.nan)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean correctness."""
        return rows[:, 0].nanmean()

    def mean_iou(self) -> Tensor:
        """Return the mean of the best IoU over the images so far on this process."""
        rows = self.rows
        return rows[:, 1].nanmean() if len(rows) else rows.new_tensor(torch.nan)

    def _is_named(self, case: Case) -> Tensor | float:
        """Return whether the target is among the ``top_k`` most probable classes; 1 where that is not asked."""
        if self.logits is None or self.top_k is None:
            return 1.0
        logits = case[self.logits]
        return (logits.topk(min(self.top_k, logits.shape[1])).indices == case.target[:, None]).any(1)


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
