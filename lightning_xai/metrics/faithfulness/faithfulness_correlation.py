"""Faithfulness correlation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.removal.subset_drops import SubsetDrops
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def faithfulness_correlation(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_subsets: int = 100,
    share: float = 0.2,
    grid: tuple[int, int] = (14, 14),
    baseline: Baseline = 0.0,
    seed: int = 0,
) -> Tensor:
    """Return each image's faithfulness correlation, float32 (N,) in [-1, 1]; see `FaithfulnessCorrelation`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_subsets: Random subsets.
        share: Share of the cells in a subset.
        grid: Rows and columns of cells.
        baseline: What removed cells become; see `baseline_images`.
        seed: Of the subsets.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> faithfulness_correlation(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, grid=(4, 4)).shape
        torch.Size([3])
    """
    metric = FaithfulnessCorrelation(num_subsets, share, grid, baseline, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = FaithfulnessCorrelation(grid=(4, 4))
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [
                SubsetDrops(
                    (max(1, round(share * grid[0] * grid[1])),), num_subsets, (grid[0], grid[1]), baseline, seed=seed
                )
            ],
            **kwargs,
        )

    def score(self, case: Case) -> Tensor:
        """Return Pearson's correlation of attribution and drop, (N,); NaN where undefined."""
        drops = case[self.evidence[0]]
        return pearson(drops.attribution[:, 0], drops.drop[:, 0])
