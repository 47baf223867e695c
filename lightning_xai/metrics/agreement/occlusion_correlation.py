"""Rank correlation with an occlusion map."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def occlusion_correlation(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    grid: tuple[int, int] = (14, 14),
    patch: float = 45 / 224,
    baseline: Baseline = 0.0,
    seed: int = 0,
) -> Tensor:
    """Return how well each heatmap's ranks agree with occlusion, float32 (N,) in [-1, 1]; see `OcclusionCorrelation`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        grid: Rows and columns of cells.
        patch: Side of the patch as a share of the image's height.
        baseline: What the patch becomes; see `baseline_images`.
        seed: Of a noise baseline.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> occlusion_correlation(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = OcclusionCorrelation(grid, patch, baseline, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = OcclusionCorrelation()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        grid: tuple[int, int] = (14, 14),
        patch: float = 45 / 224,
        baseline: Baseline = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        occlusion = OcclusionMap(grid, patch, baseline, seed)
        super().__init__([occlusion], **kwargs)
        self._occlusion = occlusion

    def score(self, case: Case) -> Tensor:
        """Return the correlation of heatmap and occlusion map, (N,)."""
        drops = self._occlusion.drops(case)
        return spearman(F.adaptive_avg_pool2d(case.heatmaps[:, None], self._occlusion.grid)[:, 0], drops)
