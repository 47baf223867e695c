"""Relevance rank accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric


class RelevanceRankAccuracy(ExplanationMetric):
    """Are the hottest pixels those of the object?

    Share of the K hottest pixels that lie in the mask, K being the mask's area; pixels tied at the cut count by their
    share, so that a constant map scores the object's share of the image. In [0, 1], higher is better. An image without
    a mask is undefined. Fake-CAM scores like a constant map: read it beside the controls.

    Evaluations per image: none.

    Source: Arras et al., "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations", Information Fusion 2022, https://arxiv.org/abs/2003.07258.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = RelevanceRankAccuracy()
        >>> metric.update(heatmaps=torch.tensor([[[1.0, 3.0, 2.0]]]), masks=torch.tensor([[[True, True, False]]]))
        >>> metric.compute()  # of the two hottest pixels, one
        tensor(0.5000)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "masks"})
    can_be_undefined = True
    in_default_suite = True

    def score(self, case: Case) -> Tensor:
        """Return the share of the hottest pixels in the mask, (N,)."""
        inside = case.masks.flatten(1)
        return share_of_hottest_inside(case.heatmaps, inside, inside.sum(1))


def share_of_hottest_inside(heatmaps: Tensor, inside: Tensor, count: Tensor) -> Tensor:
    """Return the share of each row's ``count`` hottest pixels that lie inside; ties at the cut count by their share.

    Args:
        heatmaps: (N, H, W).
        inside: Boolean (N, HW).
        count: int64 (N,); a row with 0 gives NaN.
    """
    heat = heatmaps.flatten(1)
    cut = heat.sort(dim=1, descending=True).values.gather(1, (count - 1).clamp(min=0)[:, None])
    above, at_cut = heat > cut, heat == cut
    share = (count - above.sum(1)) / at_cut.sum(1)
    hits = (above & inside).sum(1) + share * (at_cut & inside).sum(1)
    return torch.where(count > 0, hits / count.clamp(min=1), torch.nan)
