"""Time per explanation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.explanation_seconds import ExplanationSeconds
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def explanation_time(
    model: Model, images: Tensor, explainer: Explainer, target: Tensor | int, *, num_repeats: int = 1
) -> Tensor:
    """Return the seconds that each heatmap takes, float32 (N,) > 0, lower is better; see `ExplanationTime`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        num_repeats: Timed repeats, of which the fastest counts.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> explanation_time(torch.nn.Flatten(), torch.rand(2, 1, 3, 3), CenterHeatmap(), target=0) > 0
        tensor([True, True])
    """
    metric = ExplanationTime(num_repeats)
    return metric.score(Case(model, images, target, explainer=explainer))


class ExplanationTime(ExplanationMetric):
    """How long does one heatmap take?

    Seconds per image, > 0, lower is better: the batch is explained once to warm up, then by the clock, which stops
    when the device is done; every image of a batch gets an equal share. It depends on machine, batch and chunk size:
    compare explainers in one run. Always defined. Fake-CAM wins.

    Evaluations per image: ``num_repeats + 1`` heatmaps.

    Source: Buono et al., "Expected Grad-CAM: Towards gradient faithfulness", 2024, https://arxiv.org/abs/2406.01274,
    table 8.

    Args:
        num_repeats: Timed repeats, of which the fastest counts.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``num_repeats`` is below 1.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> metric = ExplanationTime()
        >>> metric.update(model=torch.nn.Flatten(), images=torch.rand(2, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> bool(metric.compute() > 0)
        True
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    needs = frozenset({"explainer"})

    def __init__(self, num_repeats: int = 1, **kwargs: Any) -> None:
        super().__init__([ExplanationSeconds(num_repeats)], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the seconds per image, (N,)."""
        seconds: Tensor = case[self.evidence[0]]
        return seconds
