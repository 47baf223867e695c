"""Sensitivity-n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.removal.subset_drops import SubsetDrops
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def sensitivity_n(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
    num_subsets: int = 25,
    grid: tuple[int, int] = (14, 14),
    baseline: Baseline = 0.0,
    seed: int = 0,
) -> Tensor:
    """Return the mean sensitivity-n of each image, float32 (N,) in [-1, 1], higher is better; see `SensitivityN`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        sizes: Numbers n of cells that are removed together.
        num_subsets: Random subsets of each size.
        grid: Rows and columns of cells.
        baseline: What removed cells become; see `baseline_images`.
        seed: Of the subsets.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> sensitivity_n(
        ...     net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, sizes=(1, 2, 4), grid=(4, 4)
        ... ).shape
        torch.Size([3])
    """
    metric = SensitivityN(sizes, num_subsets, grid, baseline, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = SensitivityN(sizes=(1, 2, 4), grid=(4, 4))
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [SubsetDrops(tuple(sizes), num_subsets, (grid[0], grid[1]), baseline, "logit", seed)], **kwargs
        )

    def score(self, case: Case) -> Tensor:
        """Return the mean correlation of attribution and drop, (N,); NaN where undefined."""
        drops = case[self.evidence[0]]
        return torch.stack(
            [pearson(drops.attribution[:, i], drops.drop[:, i]) for i in range(drops.drop.shape[1])]
        ).mean(0)
