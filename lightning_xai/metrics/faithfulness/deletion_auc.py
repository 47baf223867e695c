"""Deletion."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class DeletionAUC(ExplanationMetric):
    """How fast does the class score fall when the most relevant pixels are removed first?

    Area under the probability of the target class while pixels, hottest first, are replaced by ``baseline``, over the
    share of the pixels, [0, 1]. In [0, 1], lower is better. It moves with the model's confidence for any heatmap:
    compare epochs by the gap to a random one. Fake-CAM does not fool it: a constant map scores like a random one.

    Evaluations per image: 11 (``num_steps + 1`` for a number, at most 225 for ``"auto"``), the unchanged image shared.

    Source: Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
    https://arxiv.org/abs/1806.07421. ``num_steps=224, ties="last"`` on 224×224 images is the published protocol;
    the defaults deviate in the points where the curve is evaluated and in random ties.

    Args:
        num_steps: ``"radau"`` for the ten points of a quadrature, a number of equal parts, or ``"auto"``; see
            `MaskingCurve`.
        baseline: What removed pixels become; see `baseline_images`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties.
        tolerance: Greatest error bound of the area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = DeletionAUC(num_steps=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # under 3/4, 1/2, 1/2
        tensor(0.5625)
    """

    higher_is_better = False
    range = (0.0, 1.0)
    in_default_suite = True

    def __init__(
        self,
        num_steps: Steps = "radau",
        baseline: Baseline = 0.0,
        ties: Ties = "random",
        seed: int = 0,
        tolerance: float | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_steps: Steps = num_steps
        self.baseline = checked_baseline(baseline)
        self.ties: Ties = ties
        self.seed = seed
        self.tolerance = tolerance
        self.curve = MaskingCurve("deletion", baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance)

    def score(self, case: Case) -> Tensor:
        """Return the area under the deletion curve, (N,)."""
        return self.curve.area(case)
