"""Pixel flipping."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps, area
from lightning_xai.evidence.masking.ranking import Ties
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def pixel_flipping(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_steps: Steps = 32,
    baseline: Baseline = "minimum",
    ties: Ties = "random",
    seed: int = 0,
    tolerance: float | None = None,
) -> Tensor:
    """Return the pixel-flipping area of each image, float32 (N,) in [0, 1], lower is better; see `PixelFlipping`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_steps: Equal parts of the curve, or ``"auto"``; see `MaskingCurve`.
        baseline: What flipped pixels become; see `baseline_images`.
        ties: How equally hot pixels are ordered.
        seed: Of random ties.
        tolerance: Greatest error bound of the area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> pixel_flipping(net, torch.rand(3, 1, 2, 2), torch.rand(3, 2, 2), target=1, num_steps=4).shape
        torch.Size([3])
    """
    metric = PixelFlipping(num_steps, baseline, ties, seed, tolerance)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class PixelFlipping(ExplanationMetric):
    """How fast does the class score fall when the most relevant pixels are blacked out first?

    Area under the probability of the target class while pixels, hottest first, are set to the image's minimum;
    trapezoid over [0, 1] at ``num_steps + 1`` points. In [0, 1], lower is better. With ``baseline=0.0`` it is
    `DeletionAUC` and shares its curve. It moves with the model's confidence for any heatmap: read it against a random
    one. Fake-CAM does not fool it: a constant map scores like a random one.

    Evaluations per image: ``num_steps + 1`` (at most 225 for ``"auto"``), the unchanged image shared.

    Source: Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation", PLoS ONE 2015, https://doi.org/10.1371/journal.pone.0130140. The area is normalised to [0, 1] and
    holds the unchanged image, unlike Quantus' sum over steps.

    Args:
        num_steps: Equal parts of the curve, or ``"auto"``; see `MaskingCurve`.
        baseline: What flipped pixels become; see `baseline_images`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties.
        tolerance: Greatest error bound of the area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> metric = PixelFlipping(num_steps=4)
        >>> metric.update(model=net, images=torch.rand(3, 1, 2, 2), heatmaps=torch.rand(3, 2, 2), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = False
    range = (0.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        num_steps: Steps = 32,
        baseline: Baseline = "minimum",
        ties: Ties = "random",
        seed: int = 0,
        tolerance: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [MaskingCurve("deletion", baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance)], **kwargs
        )

    def score(self, case: Case) -> Tensor:
        """Return the area under the flipping curve, (N,)."""
        return area(case[self.evidence[0]])
