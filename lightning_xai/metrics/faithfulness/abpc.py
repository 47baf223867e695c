"""ABPC, the area between perturbation curves."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, area
from lightning_xai.evidence.masking.ranking import Order
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def abpc(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    grid: tuple[int, int] = (8, 8),
    baseline: Baseline = "uniform",
    seed: int = 0,
) -> Tensor:
    """Return each image's area between perturbation curves, float32 (N,) in [-1, 1]; see `ABPC`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        grid: Rows and columns of regions.
        baseline: What removed regions become; see `baseline_images`.
        seed: Of noise and random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> abpc(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, grid=(2, 2)).shape
        torch.Size([3])
    """
    metric = ABPC(grid, baseline, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


def _curve(grid: tuple[int, int], baseline: Baseline, order: Order, seed: int) -> MaskingCurve:
    rows, columns = grid
    return MaskingCurve("deletion", baseline, rows * columns, order, grid=(rows, columns), seed=seed)


class ABPC(ExplanationMetric):
    """Does it matter whether the most or the least relevant regions are removed first?

    Area of the curve with the least relevant regions removed first minus that with the most relevant first, over the
    regions and baseline of `AOPC`; in [-1, 1], higher is better. A random map tends to 0. Fake-CAM does not fool it:
    equal regions are removed in random order.

    Evaluations per image: 2 L + 1 for L regions, the unchanged image shared.

    Source: Schulz et al., "Restricting the Flow: Information Bottlenecks for Attribution", ICLR 2020,
    https://arxiv.org/abs/2001.00396 ("degradation").

    Args:
        grid: Rows and columns of regions.
        baseline: What removed regions become; see `baseline_images`.
        seed: Of noise and random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = ABPC(grid=(2, 2))
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        grid: tuple[int, int] = (8, 8),
        baseline: Baseline = "uniform",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__([_curve(grid, baseline, "morf", seed), _curve(grid, baseline, "lerf", seed)], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the area between the curves, (N,)."""
        most, least = (area(case[curve]) for curve in self.evidence)
        return least - most
