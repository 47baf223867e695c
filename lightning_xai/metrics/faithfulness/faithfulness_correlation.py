"""Faithfulness correlation."""

from __future__ import annotations

import math

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._segments import check_grid
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.subset_drops import SubsetDrops
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class FaithfulnessCorrelation(ExplanationMetric):
    """Does the score fall by as much as the heatmap says, for random parts of the image?

    Pearson's correlation, over random subsets of cells that are removed together, of their summed attribution with the
    fall of the target's probability; in [-1, 1], higher is better. Undefined where either side is constant. Fake-CAM
    gains next to nothing: its subsets differ by one pixel.

    Evaluations per image: ``num_subsets + 1``, the unchanged image shared.

    Source: Bhatt et al., "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020,
    https://arxiv.org/abs/2005.00631.

    Args:
        num_subsets: Random subsets.
        share: Share of the cells in a subset.
        grid: Rows and columns of cells.
        baseline: What removed cells become; see `baseline_images`.
        seed: Of the subsets.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = FaithfulnessCorrelation(share=0.5, grid=(1, 2))
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # one pixel at a time: heat 2 and 1, drops of 1/4 and 0
        tensor(1.)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        num_subsets: int = 100,
        share: float = 0.2,
        grid: tuple[int, int] = (14, 14),
        baseline: Baseline = 0.0,
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_subsets = num_subsets
        self.share = share
        self.grid = check_grid(grid)
        self.baseline = checked_baseline(baseline)
        self.seed = seed
        size = max(1, round(share * math.prod(self.grid)))
        self.drops = SubsetDrops((size,), num_subsets, self.grid, baseline, seed=seed)

    def score(self, case: Case) -> Tensor:
        """Return Pearson's correlation of attribution and drop, (N,); NaN where undefined."""
        drops = case[self.drops]
        return pearson(drops.attribution[:, 0], drops.drop[:, 0])
