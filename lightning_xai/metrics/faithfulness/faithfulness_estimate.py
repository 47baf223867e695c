"""Faithfulness estimate."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.masking.baseline import Baseline
from lightning_xai.evidence.removal.set_drops import SetDrops
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def faithfulness_estimate(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    num_chunks: int = 64,
    baseline: Baseline = "minimum",
    seed: int = 0,
) -> Tensor:
    """Return each image's faithfulness estimate, float32 (N,) in [-1, 1]; see `FaithfulnessEstimate`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        num_chunks: Sets of pixels.
        baseline: What a removed set becomes; see `baseline_images`.
        seed: Of random ties.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> faithfulness_estimate(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1, num_chunks=8).shape
        torch.Size([3])
    """
    metric = FaithfulnessEstimate(num_chunks, baseline, seed)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class FaithfulnessEstimate(ExplanationMetric):
    """Does the score fall by as much as the heatmap says, set by set?

    Pixels in descending relevance are cut into sets; each set alone is replaced, and its summed attribution is
    correlated (Pearson) with the fall of the target's probability; in [-1, 1], higher is better. Undefined where
    either side is constant, as for a constant map, so Fake-CAM gains next to nothing.

    Evaluations per image: ``num_chunks + 1``, the unchanged image shared.

    Source: Alvarez-Melis & Jaakkola, "Towards Robust Interpretability with Self-Explaining Neural Networks", NeurIPS
    2018, https://arxiv.org/abs/1806.07538.

    Args:
        num_chunks: Sets of pixels.
        baseline: What a removed set becomes; see `baseline_images`.
        seed: Of random ties.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = FaithfulnessEstimate(num_chunks=8)
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        num_chunks: int = 64,
        baseline: Baseline = "minimum",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__([SetDrops(num_chunks, "value", baseline, seed=seed)], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return Pearson's correlation of attribution and drop, (N,); NaN where undefined."""
        drops = case[self.evidence[0]]
        return pearson(drops.attribution, drops.drop[:, :, 0])
