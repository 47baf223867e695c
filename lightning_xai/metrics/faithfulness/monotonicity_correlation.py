"""Monotonicity correlation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.removal.set_drops import SetDrops
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def monotonicity_correlation(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_sets: int = 32,
    num_draws: int = 10,
    seed: int = 0,
) -> Tensor:
    """Return each image's monotonicity correlation, float32 (N,) in [-1, 1]; see `MonotonicityCorrelation`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_sets: Sets of pixels.
        num_draws: Draws of the noise.
        seed: Of noise and random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> monotonicity_correlation(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, num_sets=4).shape
        torch.Size([3])
    """
    metric = MonotonicityCorrelation(num_sets, num_draws, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class MonotonicityCorrelation(ExplanationMetric):
    """Does the score become less certain where the heatmap is stronger, set by set?

    Pixels in increasing ``|m|`` are cut into sets; each set alone is replaced by uniform noise over the image's own
    range, and ``Σ|m|`` of the set is correlated (Spearman) with the mean of the squared change of the target's
    probability, divided by its square; in [-1, 1], higher is better. Undefined where either side is constant, as for a
    constant map, so Fake-CAM gains next to nothing.

    Evaluations per image: ``num_sets · num_draws + 1``, the unchanged image shared.

    Source: Nguyen & Martínez, "On quantitative aspects of model interpretability", 2020,
    https://arxiv.org/abs/2007.07584.

    Args:
        num_sets: Sets of pixels.
        num_draws: Draws of the noise.
        seed: Of noise and random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = MonotonicityCorrelation(num_sets=4)
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        num_sets: int = 32,
        num_draws: int = 10,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__([SetDrops(num_sets, "magnitude", "uniform", num_draws, seed)], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return Spearman's correlation of attribution and uncertainty, (N,); NaN where undefined."""
        drops = case[self.evidence[0]]
        before = case.classifier.select(case.logits, case.target, "probability")
        return spearman(drops.attribution, drops.drop.square().mean(2) / before.square()[:, None])
