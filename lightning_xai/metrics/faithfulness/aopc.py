"""AOPC, the area over the perturbation curve."""

from __future__ import annotations

import math

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._segments import check_grid
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Order, Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class AOPC(ExplanationMetric):
    """How much does the class score fall, on average, while cells are removed, most relevant first?

    ``1 / (L + 1) · Σ_{k=1..L} [f(x⁰) − f(xᵏ)]`` over the L cells of a grid, ranked by their mean heat, with ``f`` the
    probability of the target class and xᵏ the image without the first k cells; in [-1, 1], higher is better (lower
    for ``order="lerf"``). It moves with the model's confidence for any heatmap: read it against a random one. Fake-CAM
    does not fool it: equal cells are removed in random order.

    Evaluations per image: L + 1, the unchanged image shared.

    Source: Samek et al., "Evaluating the visualization of what a Deep Neural Network has learned", IEEE TNNLS 2017,
    https://arxiv.org/abs/1509.06321, eq. 12. Deviation: noise covers each image's own range and is drawn once per
    image, the same for every heatmap, instead of anew at every step.

    Args:
        grid: Rows and columns of cells.
        baseline: What removed cells become; see `baseline_images`.
        order: Most (``"morf"``) or least (``"lerf"``) relevant cell first.
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
        >>> metric = AOPC(grid=(1, 2), baseline=0.0)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # falls of 0, 1/4 and 1/4
        tensor(0.1667)
    """

    range = (-1.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        baseline: Baseline = "uniform",
        order: Order = "morf",
        seed: int = 0,
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.grid = check_grid(grid)
        self.baseline = checked_baseline(baseline)
        self.order: Order = order
        self.seed = seed
        self.ties: Ties = ties
        self.curve = MaskingCurve("deletion", baseline, math.prod(self.grid), order, ties, grid=self.grid, seed=seed)

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """A greater drop is better where the most relevant cells go first, worse where the least relevant do."""
        return self.order == "morf"

    def score(self, case: Case) -> Tensor:
        """Return the mean drop over all points, (N,)."""
        curve = case[self.curve]
        return (curve[:, :1] - curve).mean(1)
