"""Area under the ROC curve of heat against the mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_maps
from lightning_xai.evidence.annotations import check_masks
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.correlation import average_ranks
from lightning_xai.metrics.metric import ExplanationMetric


def localization_auc(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return how well heat tells each mask from the rest, float32 (N,) in [0, 1]; see `LocalizationAUC`.

    Args:
        heatmaps: Floating point (N, H, W).
        masks: Boolean (N, H, W).

    Example:
        >>> localization_auc(torch.tensor([[[1.0, 3.0, 2.0]]]), torch.tensor([[[True, True, False]]]))
        tensor([0.5000])
    """
    inside = check_masks(masks, check_maps(heatmaps, None, "heatmaps")).flatten(1)
    area = inside.sum(1).double()
    pairs = area * (inside.shape[1] - area)
    ranks = (average_ranks(heatmaps.float()) * inside).sum(1, dtype=torch.float64)
    wins = ranks - area * (area + 1.0) / 2.0
    return torch.where(pairs > 0, wins / pairs, torch.nan).float()


class LocalizationAUC(ExplanationMetric):
    """Is a pixel of the object hotter than one beside it?

    Area under the ROC curve of the pixels' heat against the mask: the probability that a random pixel of the object is
    hotter than a random pixel outside, ties counting half. In [0, 1], 0.5 is chance, higher is better; only the order
    of the pixels matters. Undefined if the mask is empty or covers the image. Fake-CAM scores chance.

    Evaluations per image: none.

    Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006,
    https://doi.org/10.1016/j.patrec.2005.10.010.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = LocalizationAUC()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0]]]), masks=torch.tensor([[[False, True]]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"masks"})
    can_be_undefined = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the area, (N,)."""
        return localization_auc(case.heatmaps, case.masks)
