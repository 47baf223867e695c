"""The pointing game."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class PointingGame(ExplanationMetric):
    """Does the hottest pixel lie on the object?

    Share of the maximal pixels that lie in the mask, so that a constant map scores chance; 0 where the maximum is not
    positive; the mean is the accuracy, in [0, 1], higher is better. An image without a mask is undefined. Fake-CAM
    scores chance, and so may any map when objects are large: read it beside `CenterHeatmap`.

    Evaluations per image: none.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016,
    https://arxiv.org/abs/1608.00507, who allow ``tolerance=15``.

    Args:
        tolerance: Distance in pixels (Euclidean) at which a miss still counts as a hit.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``tolerance`` is negative.

    Example:
        >>> metric = PointingGame()
        >>> metric.update(heatmaps=torch.tensor([[[0.0, 2.0]]]), masks=torch.tensor([[[False, True]]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "masks"})
    can_be_undefined = True
    in_default_suite = True

    def __init__(self, tolerance: float = 0.0, **options: Unpack[MetricOptions]) -> None:
        check_at_least(tolerance, 0.0, "tolerance")
        super().__init__(**options)
        self.tolerance = tolerance

    def score(self, case: Case) -> Tensor:
        """Return the share of maximal pixels in the mask, (N,)."""
        hits = share_of_peak_inside(case.heatmaps, _dilated(case.masks, self.tolerance))
        return torch.where(case.masks.flatten(1).any(1), hits, torch.nan)


def share_of_peak_inside(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of each heatmap's maximal pixels that lie in its mask, (N,); 0 where none is positive."""
    heat, inside = heatmaps.flatten(1), masks.flatten(1)
    peak = heat.amax(1, keepdim=True)
    hottest = heat == peak
    return torch.where(peak[:, 0] > 0, (hottest & inside).sum(1) / hottest.sum(1), 0.0)


def _dilated(masks: Tensor, tolerance: float) -> Tensor:
    """Return the pixels within ``tolerance`` (Euclidean, px) of each mask."""
    reach = int(tolerance)
    if reach == 0:
        return masks
    offset = torch.arange(-reach, reach + 1, device=masks.device)
    disk = (offset[:, None] ** 2 + offset[None, :] ** 2 <= tolerance**2).float()
    return F.conv2d(masks[:, None].float(), disk[None, None], padding=reach)[:, 0] > 0.5
