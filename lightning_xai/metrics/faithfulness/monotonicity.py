"""Monotonicity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def monotonicity(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_sets: int = 32,
    baseline: Baseline = "minimum",
    strict: bool = False,
    correlation: bool = False,
    seed: int = 0,
) -> Tensor:
    """Return the monotonicity of each image, float32 (N,) in [0, 1], higher is better; see `Monotonicity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_sets: Sets of pixels.
        baseline: What the image starts from; see `baseline_images`.
        strict: Whether an image counts 1 only if no step falls, else 0.
        correlation: Whether to return Spearman's correlation of the score with the step instead.
        seed: Of random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> monotonicity(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = Monotonicity(num_sets, baseline, strict, correlation, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class Monotonicity(ExplanationMetric):
    """Does the class score rise whenever something more relevant is added?

    Sets of pixels are added to the baseline in *increasing* relevance; the share of steps in which the probability of
    the target class does not fall, in [0, 1], higher is better. ``strict=True`` is the paper's: 1 if no step falls.
    ``correlation=True`` is Spearman's correlation of the score with the step, in [-1, 1], undefined where the score is
    constant. Any map rises as the image completes, Fake-CAM too: read it against a random one.

    Evaluations per image: ``num_sets + 1``, the unchanged image shared.

    Source: Arya et al., "One Explanation Does Not Fit All: A Toolkit and Taxonomy of AI Explainability Techniques",
    2019, https://arxiv.org/abs/1909.03012; ``correlation`` after Zhang et al., "Saliency Maps Give a False Sense of
    Explanability to Image Classifiers", 2024, section 4.1.

    Args:
        num_sets: Sets of pixels.
        baseline: What the image starts from; see `baseline_images`.
        strict: Whether an image counts 1 only if no step falls, else 0.
        correlation: Whether to return Spearman's correlation of the score with the step instead.
        seed: Of random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = Monotonicity()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True
    logs_gain = True

    def __init__(
        self,
        num_sets: int = 32,
        baseline: Baseline = "minimum",
        strict: bool = False,
        correlation: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            [MaskingCurve("insertion", baseline, num_sets, "lerf", seed=seed)],
            {"strict": strict, "correlation": correlation},
            **kwargs,
        )
        if correlation:
            self.range = (-1.0, 1.0)  # type: ignore[misc]

    def score(self, case: Case) -> Tensor:
        """Return the share of steps that do not fall, (N,)."""
        curve: Tensor = case[self.evidence[0]]
        if self.settings["correlation"]:
            return spearman(curve, torch.arange(curve.shape[1], device=curve.device).float().expand_as(curve))
        rises = curve.diff(dim=1) >= 0
        return rises.all(1).float() if self.settings["strict"] else rises.float().mean(1)
