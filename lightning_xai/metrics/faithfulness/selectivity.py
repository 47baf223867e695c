"""Selectivity."""

from __future__ import annotations

import math

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._segments import check_grid
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class Selectivity(ExplanationMetric):
    """How fast does the class score fall when the most relevant cells are removed first?

    Area under the probability of the target class while cells, ranked by their summed relevance, are set to the
    image's minimum one by one; trapezoid over [0, 1]; in [0, 1], lower is better. It moves with the model's confidence
    for any heatmap: read it against a random one. Fake-CAM does not fool it: equal cells are removed in random
    order.

    Evaluations per image: 65, the unchanged image shared.

    Source: Montavon et al., "Methods for interpreting and understanding deep neural networks", Digital Signal
    Processing 2018, https://arxiv.org/abs/1706.07979.

    Args:
        grid: Rows and columns of cells; square on square images.
        baseline: What removed cells become; see `baseline_images`.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = Selectivity(grid=(1, 2))
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # under 3/4, 1/2, 1/2
        tensor(0.5625)
    """

    higher_is_better = False
    range = (0.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        baseline: Baseline = "minimum",
        ties: Ties = "random",
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.grid = check_grid(grid)
        self.baseline = checked_baseline(baseline)
        self.ties: Ties = ties
        self.seed = seed
        self.curve = MaskingCurve(
            "deletion", baseline, math.prod(self.grid), ties=ties, grid=self.grid, seed=seed, pooling="sum"
        )

    def score(self, case: Case) -> Tensor:
        """Return the area under the curve, (N,)."""
        return self.curve.area(case)
