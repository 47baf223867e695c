"""Sensitivity-n."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai._segments import check_grid
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.subset_drops import SubsetDrops
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class SensitivityN(ExplanationMetric):
    """Does the logit fall by as much as the heatmap says, for parts of every size?

    For each n, Pearson's correlation over random subsets of n cells of their summed attribution with the fall of the
    target's *logit*; the mean over n, in [-1, 1], higher is better. Undefined where a side is constant for some n.
    Fake-CAM gains next to nothing: its subsets differ by one pixel.

    Evaluations per image: ``len(sizes) · num_subsets + 1``, the unchanged image shared.

    Source: Ancona et al., "Towards better understanding of gradient-based attribution methods for Deep Neural
    Networks", ICLR 2018, https://arxiv.org/abs/1711.06104.

    Args:
        sizes: Numbers n of cells that are removed together.
        num_subsets: Random subsets of each size.
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
        >>> metric = SensitivityN(sizes=(1,), grid=(1, 2))
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # one pixel at a time: heat 2 and 1, drops of log 3 and 0
        tensor(1.)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
        num_subsets: int = 25,
        grid: tuple[int, int] = (14, 14),
        baseline: Baseline = 0.0,
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.sizes = tuple(sizes)
        self.num_subsets = num_subsets
        self.grid = check_grid(grid)
        self.baseline = checked_baseline(baseline)
        self.seed = seed
        self.drops = SubsetDrops(self.sizes, num_subsets, self.grid, baseline, "logit", seed)

    def score(self, case: Case) -> Tensor:
        """Return the mean correlation of attribution and drop, (N,); NaN where undefined."""
        drops = case[self.drops]
        by_size = zip(drops.attribution.unbind(1), drops.drop.unbind(1), strict=True)
        return torch.stack([pearson(attribution, drop) for attribution, drop in by_size]).mean(0)
