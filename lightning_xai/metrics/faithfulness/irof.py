"""IROF, iterative removal of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.superpixel_curve import SuperpixelCurve, SuperpixelSteps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_LEAST_SCORE = 1e-3


class IROF(ExplanationMetric):
    """How fast does the class score fall when the most relevant superpixels are removed first?

    1 − the area under ``min(ceiling, f(xᵏ) / f(x⁰))`` while SLIC superpixels, ranked by their mean heat, are replaced
    by the image's mean colour, over the share of superpixels; at most 1, higher is better. Undefined for
    ``f(x) < 1e-3``. Fake-CAM does not fool it: equal superpixels are removed in random order. Needs the extra
    ``superpixels``.

    Evaluations per image: 11 (at most min(300, HW // 64) + 1 with ``num_steps="all"``), the unchanged image shared.

    Source: Rieger & Hansen, "IROF: a low resource evaluation metric for explanation methods", 2020,
    https://arxiv.org/abs/2003.08747. Deviation: a score above that of the unchanged image counts as this one, which
    keeps values in [0, 1]; neither the paper nor Quantus cuts (``ceiling=None``: equal or lower, and below 0 where
    removals make the model surer). Quantus returns the number of superpixels minus an unnormalised sum that leaves the
    unchanged image out.

    Args:
        baseline: What removed superpixels become; see `baseline_images`.
        seed: Of random ties.
        ceiling: Greatest share of the unchanged image's score that counts, ≥ 1; None for the published curve.
        num_steps: ``"radau"`` for ten points of a quadrature, ``"all"`` to remove one superpixel after another, as
            published; see `SuperpixelCurve`.
        ties: How equally hot superpixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1, bias=False))
        >>> net[1].weight.data = torch.full((1, 64), 3.0).log() / 64  # odds of 3 to 1 where all pixels are 1
        >>> images, heatmaps = torch.ones(1, 1, 8, 8), torch.rand(1, 8, 8)
        >>> metric = IROF(baseline=0.0)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # one superpixel: above 1, 2/3
        tensor(0.1667)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True
    logs_gain = True

    def __init__(
        self,
        baseline: Baseline = "mean",
        seed: int = 0,
        ceiling: float | None = 1.0,
        num_steps: SuperpixelSteps = "radau",
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        if ceiling is not None:
            check_at_least(ceiling, 1.0, "ceiling")
        super().__init__(**options)
        self.baseline = checked_baseline(baseline)
        self.ceiling = ceiling
        if ceiling != 1.0:
            self.range = (-math.inf, 1.0)  # type: ignore[misc] # a share above 1 takes more from 1 than there is
        self.seed = seed
        self.ties: Ties = ties
        self.num_steps: SuperpixelSteps = num_steps
        self.curve = SuperpixelCurve(baseline, seed, num_steps, ties)

    def score(self, case: Case) -> Tensor:
        """Return 1 − the area under the relative curve, (N,); NaN where the score is too small to divide by."""
        curve = case[self.curve]
        relative = curve / curve[:, :1]
        relative = relative if self.ceiling is None else relative.clamp(max=self.ceiling)
        area = (relative.nan_to_num(0.0) * self.curve.weights(case)).sum(1)
        return torch.where(curve[:, 0] >= _LEAST_SCORE, 1.0 - area, torch.nan)
