"""Deletion."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps, area
from lightning_xai.evidence.masking.ranking import Ties
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def deletion_auc(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_steps: Steps = 32,
    baseline: Baseline = 0.0,
    ties: Ties = "random",
    seed: int = 0,
    tolerance: float | None = None,
) -> Tensor:
    """Return the deletion AUC of each image, float32 (N,) in [0, 1], lower is better; see `DeletionAUC`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_steps: Equal parts of the curve, or ``"auto"``; see `MaskingCurve`.
        baseline: What removed pixels become; see `baseline_images`.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        tolerance: Greatest error bound of the area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> deletion_auc(net, torch.rand(3, 1, 2, 2), torch.rand(3, 2, 2), target=1, num_steps=4).shape
        torch.Size([3])
    """
    metric = DeletionAUC(num_steps, baseline, ties, seed, tolerance)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class DeletionAUC(ExplanationMetric):
    """How fast does the class score fall when the most relevant pixels are removed first?

    Area under the probability of the target class while pixels, hottest first, are replaced by ``baseline``; trapezoid
    over [0, 1] at ``num_steps + 1`` points. In [0, 1], lower is better. It moves with the model's confidence for any
    heatmap: compare epochs by the gap to a random one. Fake-CAM does not fool it: a constant map scores like a random
    one.

    Evaluations per image: ``num_steps + 1`` (at most 225 for ``"auto"``), the unchanged image shared.

    Source: Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
    https://arxiv.org/abs/1806.07421. ``num_steps=224, ties="last"`` on 224×224 images is the published protocol;
    the defaults deviate in 32 steps and in random ties.

    Args:
        num_steps: Equal parts of the curve, or ``"auto"``; see `MaskingCurve`.
        baseline: What removed pixels become; see `baseline_images`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties.
        tolerance: Greatest error bound of the area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> metric = DeletionAUC(num_steps=4)
        >>> metric.update(model=net, images=torch.rand(3, 1, 2, 2), heatmaps=torch.rand(3, 2, 2), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = False
    range = (0.0, 1.0)

    def __init__(
        self,
        num_steps: Steps = 32,
        baseline: Baseline = 0.0,
        ties: Ties = "random",
        seed: int = 0,
        tolerance: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [MaskingCurve("deletion", baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance)], **kwargs
        )

    def score(self, case: Case) -> Tensor:
        """Return the area under the deletion curve, (N,)."""
        return area(case[self.evidence[0]])
