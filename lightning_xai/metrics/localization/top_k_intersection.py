"""Top-k intersection."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_count
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.localization.relevance_rank_accuracy import share_of_hottest_inside
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_SHARE, _MOST = 0.02, 1000


class TopKIntersection(ExplanationMetric):
    """Do the very hottest pixels lie on the object?

    Share of the k hottest pixels that lie in the mask, ``k = min(1000, round(0.02 · HW))``, at least 1; pixels tied at
    the cut count by their share, so that a constant map scores the object's share of the image. In [0, 1], higher is
    better; an object smaller than k pixels cannot reach 1. An image without a mask is undefined. Fake-CAM scores like
    a constant map: read it beside the controls.

    Evaluations per image: none.

    Source: Theiner, Müller-Budack and Ewerth, "Interpretable Semantic Photo Geolocation", WACV 2022,
    https://arxiv.org/abs/2104.14995.

    Args:
        k: Number of hottest pixels; 2 % of the image, at least 1 and at most 1,000, if None.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``k`` is below 1; when updated, if it is above the number of pixels.

    Example:
        >>> metric = TopKIntersection(k=2)
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0, 2.0]]]), masks=torch.tensor([[[True, True, False]]]))
        >>> metric.compute()  # of 3 and 2, one
        tensor(0.5000)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "masks"})
    can_be_undefined = True

    def __init__(self, k: int | None = None, **options: Unpack[MetricOptions]) -> None:
        if k is not None:
            check_count(k, "k")
        super().__init__(**options)
        self.k = k

    def score(self, case: Case) -> Tensor:
        """Return the share of the k hottest pixels in the mask, (N,)."""
        inside = case.masks.flatten(1)
        pixels = inside.shape[1]
        k = max(1, min(_MOST, round(_SHARE * pixels))) if self.k is None else self.k
        if k > pixels:
            raise ValueError(f"Expected `k` to be at most the {pixels} pixels of a heatmap, but got {k}.")
        share = share_of_hottest_inside(case.heatmaps, inside, torch.full_like(inside.sum(1), k))
        return torch.where(inside.any(1), share, torch.nan)
