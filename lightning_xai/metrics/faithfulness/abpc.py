"""ABPC, the area between perturbation curves."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._segments import check_grid
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class ABPC(ExplanationMetric):
    """Does it matter whether the most or the least relevant cells are removed first?

    Area of the curve with the least relevant cells removed first minus that with the most relevant first, over the
    cells and baseline of `AOPC`; in [-1, 1], higher is better. A random map tends to 0. Fake-CAM does not fool it:
    equal cells are removed in random order.

    Evaluations per image: 2 L + 1 for L cells, the unchanged image shared.

    Source: Schulz et al., "Restricting the Flow: Information Bottlenecks for Attribution", ICLR 2020,
    https://arxiv.org/abs/2001.00396 ("degradation").

    Args:
        grid: Rows and columns of cells.
        baseline: What removed cells become; see `baseline_images`.
        seed: Of noise and random ties.
        ties: How equally hot cells are ordered: ``"random"``, ``"first"`` or ``"last"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = ABPC(grid=(1, 2), baseline=0.0)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # 3/4, 3/4, 1/2 above 3/4, 1/2, 1/2
        tensor(0.1250)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        baseline: Baseline = "uniform",
        seed: int = 0,
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.grid = check_grid(grid)
        self.baseline = checked_baseline(baseline)
        self.seed = seed
        self.ties: Ties = ties
        curve = MaskingCurve("deletion", baseline, math.prod(self.grid), ties=ties, grid=self.grid, seed=seed)
        self.most_relevant_first, self.least_relevant_first = curve, replace(curve, order="lerf")

    def score(self, case: Case) -> Tensor:
        """Return the area between the curves, (N,)."""
        return self.least_relevant_first.area(case) - self.most_relevant_first.area(case)
