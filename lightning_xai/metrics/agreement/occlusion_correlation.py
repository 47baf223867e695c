"""Rank correlation with an occlusion map."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class OcclusionCorrelation(ExplanationMetric):
    """Is the heatmap hot where hiding the image hurts?

    Spearman's correlation, over the cells of a 14×14 grid, of the average-pooled heatmap with an occlusion map: the
    fall ``f(x) − f(occluded)`` of the target's probability when a square patch of side 45 · H / 224 centred on the
    cell (cut off at the border) becomes 0. In [-1, 1], higher is better. Undefined where heatmap or occlusion map is
    constant. Fake-CAM scores near 0: all of its cells but one are equal.

    Evaluations per image: 196 and 1, whatever the number of heatmaps of an image in one `Case`.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    2017, https://arxiv.org/abs/1610.02391, with the patch and the grid of Nagy, Nimara and Qian, "Analysis and
    Evaluation of Grad-CAM Explanations", table 3, who slide the patch pixel by pixel (50,176 passes) and draw the
    score, so that their maps have the opposite sign.

    Args:
        grid: Rows and columns of cells.
        patch: Side of the patch as a share of the image's height.
        baseline: What the patch becomes; see `baseline_images`.
        seed: Of a noise baseline.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
        >>> net[1].weight.data = torch.tensor([[0.3, 0.1, 0.2, -0.4]])  # what hiding a pixel takes from the logit
        >>> metric = OcclusionCorrelation(grid=(2, 2), patch=0.5)
        >>> heatmaps = torch.tensor([[[4.0, 2.0], [1.0, 3.0]]])
        >>> metric.update(model=net, images=torch.ones(1, 1, 2, 2), heatmaps=heatmaps, target=1)
        >>> metric.compute()  # ranks 4 2 1 3 and 4 2 3 1
        tensor(0.2000)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(
        self,
        grid: tuple[int, int] = (14, 14),
        patch: float = 45 / 224,
        baseline: Baseline = 0.0,
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.occlusion = OcclusionMap(grid, patch, baseline, seed)
        self.grid = self.occlusion.grid
        self.patch = patch
        self.baseline = checked_baseline(baseline)
        self.seed = seed

    def score(self, case: Case) -> Tensor:
        """Return the correlation of heatmap and occlusion map, (N,)."""
        pooled = F.adaptive_avg_pool2d(case.heatmaps[:, None], self.grid)[:, 0]
        return spearman(pooled, self.occlusion.drops(case))
