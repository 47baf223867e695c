"""IROF, iterative removal of features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.superpixel_curve import SuperpixelCurve
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model

_LEAST_SCORE = 1e-3


def irof(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    baseline: Baseline = "mean",
    seed: int = 0,
) -> Tensor:
    """Return the IROF score of each image, float32 (N,) in [0, 1], higher is better; see `IROF`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        baseline: What removed superpixels become; see `baseline_images`.
        seed: Of random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2))
        >>> irof(net, torch.rand(3, 1, 16, 16), torch.rand(3, 16, 16), target=1).shape
        torch.Size([3])
    """
    metric = IROF(baseline, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class IROF(ExplanationMetric):
    """How fast does the class score fall when the most relevant superpixels are removed first?

    1 − the area under ``min(1, f(xᵏ) / f(x⁰))`` while SLIC superpixels, ranked by their mean heat, are replaced by the
    image's mean colour one by one; trapezoid over [0, 1]; in [0, 1], higher is better. Undefined for ``f(x) < 1e-3``.
    Fake-CAM does not fool it: equal superpixels are removed in random order. Needs the extra ``superpixels``.

    Evaluations per image: at most min(300, HW // 64) + 1, the unchanged image shared.

    Source: Rieger & Hansen, "IROF: a low resource evaluation metric for explanation methods", 2020,
    https://arxiv.org/abs/2003.08747. Quantus returns the number of superpixels minus an unnormalised sum that leaves
    the unchanged image out.

    Args:
        baseline: What removed superpixels become; see `baseline_images`.
        seed: Of random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2))
        >>> metric = IROF()
        >>> metric.update(model=net, images=torch.rand(3, 1, 16, 16), heatmaps=torch.rand(3, 16, 16), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True
    logs_gain = True

    def __init__(
        self,
        baseline: Baseline = "mean",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__([SuperpixelCurve(baseline, seed)], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return 1 − the area under the relative curve, (N,); NaN where the score is too small to divide by."""
        curve: Tensor = case[self.evidence[0]]
        relative = (curve / curve[:, :1]).clamp(max=1.0)
        steps = (~curve.isnan()).sum(1) - 1
        trapezoids = (relative[:, 1:] + relative[:, :-1]) / 2
        return torch.where(curve[:, 0] >= _LEAST_SCORE, 1.0 - trapezoids.nansum(1) / steps, torch.nan)
