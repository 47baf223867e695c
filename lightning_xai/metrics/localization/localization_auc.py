"""Area under the ROC curve of heat against the mask."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.correlation import average_ranks
from lightning_xai.metrics.metric import ExplanationMetric


class LocalizationAUC(ExplanationMetric):
    """Is a pixel of the object hotter than one beside it?

    Area under the ROC curve of the pixels' heat against the mask: the probability that a random pixel of the object is
    hotter than a random pixel outside, ties counting half. In [0, 1], 0.5 is chance, higher is better; only the order
    of the pixels matters. Undefined if the mask is empty or covers the image. Fake-CAM scores chance.

    Evaluations per image: none.

    Source: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 2006,
    https://doi.org/10.1016/j.patrec.2005.10.010.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = LocalizationAUC()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0, 2.0]]]), masks=torch.tensor([[[True, True, False]]]))
        >>> metric.compute()  # 3 beats 2, 1 does not
        tensor(0.5000)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "masks"})
    can_be_undefined = True

    def score(self, case: Case) -> Tensor:
        """Return the area, (N,)."""
        inside = case.masks.flatten(1)
        area = inside.sum(1).double()
        pairs = area * (inside.shape[1] - area)
        ranks = (average_ranks(case.heatmaps) * inside).sum(1, dtype=torch.float64)
        wins = ranks - area * (area + 1.0) / 2.0
        return torch.where(pairs > 0, wins / pairs, torch.nan).float()
