"""Top-k intersection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_count, check_maps
from lightning_xai.evidence.annotations import check_masks
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.localization.relevance_rank_accuracy import share_of_hottest_inside
from lightning_xai.metrics.metric import ExplanationMetric

_SHARE, _MOST = 0.02, 1000


def top_k_intersection(heatmaps: Tensor, masks: Tensor, *, k: int | None = None) -> Tensor:
    """Return the share of the k hottest pixels inside each mask, float32 (N,) in [0, 1]; see `TopKIntersection`.

    Args:
        heatmaps: Floating point (N, H, W).
        masks: Boolean (N, H, W).
        k: Number of hottest pixels; 2 % of the image, at least 1 and at most 1,000, if None.

    Raises:
        ValueError: If ``k`` is below 1 or above the number of pixels.

    Example:
        >>> top_k_intersection(torch.tensor([[[1.0, 3.0, 2.0]]]), torch.tensor([[[True, True, False]]]), k=2)
        tensor([0.5000])
    """
    inside = check_masks(masks, check_maps(heatmaps, None, "heatmaps")).flatten(1)
    pixels = inside.shape[1]
    if k is None:
        k = max(1, min(_MOST, round(_SHARE * pixels)))
    check_count(k, "k")
    if k > pixels:
        raise ValueError(f"Expected `k` to be at most the {pixels} pixels of a heatmap, but got {k}.")
    share = share_of_hottest_inside(heatmaps, inside, torch.full_like(inside.sum(1), k))
    return torch.where(inside.any(1), share, torch.nan)


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``k`` is below 1.

    Example:
        >>> metric = TopKIntersection(k=1)
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0]]]), masks=torch.tensor([[[False, True]]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"masks"})
    can_be_undefined = True

    def __init__(self, k: int | None = None, **kwargs: Any) -> None:
        if k is not None:
            check_count(k, "k")
        super().__init__(settings={"k": k}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the share of the k hottest pixels in the mask, (N,)."""
        return top_k_intersection(case.heatmaps, case.masks, k=self.settings["k"])
