"""Selectivity."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, area
from lightning_xai.evidence.masking.ranking import Ties
from lightning_xai.evidence.masking.segments import check_grid
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def selectivity(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    grid: tuple[int, int] = (8, 8),
    baseline: Baseline = "minimum",
    ties: Ties = "random",
    seed: int = 0,
) -> Tensor:
    """Return the selectivity area of each image, float32 (N,) in [0, 1], lower is better; see `Selectivity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        grid: Rows and columns of patches; square on square images.
        baseline: What removed patches become; see `baseline_images`.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> selectivity(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, grid=(2, 2)).shape
        torch.Size([3])
    """
    metric = Selectivity(grid, baseline, ties, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class Selectivity(ExplanationMetric):
    """How fast does the class score fall when the most relevant patches are blacked out first?

    Area under the probability of the target class while patches, ranked by their summed relevance, are set to the
    image's minimum one by one; trapezoid over [0, 1]; in [0, 1], lower is better. It moves with the model's confidence
    for any heatmap: read it against a random one. Fake-CAM does not fool it: equal patches are removed in random
    order.

    Evaluations per image: 65, the unchanged image shared.

    Source: Montavon et al., "Methods for interpreting and understanding deep neural networks", Digital Signal
    Processing 2018, https://arxiv.org/abs/1706.07979.

    Args:
        grid: Rows and columns of patches; square on square images.
        baseline: What removed patches become; see `baseline_images`.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = Selectivity(grid=(2, 2))
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
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
        **kwargs: Any,
    ) -> None:
        rows, columns = check_grid(grid)
        curve = MaskingCurve(
            "deletion", baseline, rows * columns, ties=ties, grid=(rows, columns), seed=seed, pooling="sum"
        )
        super().__init__([curve], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the area under the curve, (N,)."""
        return area(case[self.evidence[0]])
