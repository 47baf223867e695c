"""Time per explanation."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.explanation_seconds import ExplanationSeconds
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If ``num_repeats`` is below 1.

    Example:
        >>> import time, torch
        >>> from lightning_xai import CenterHeatmap
        >>> class Slow(CenterHeatmap):
        ...     def explain(self, classifier, images, target):
        ...         time.sleep(0.02)
        ...         return super().explain(classifier, images, target)
        >>> metric = ExplanationTime()
        >>> metric.update(model=torch.nn.Flatten(), images=torch.ones(2, 1, 3, 3), explainer=Slow(), target=0)
        >>> bool(metric.compute() >= 0.01)  # two images in at least 0.02 s
        True
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    inputs = frozenset()

    def __init__(self, num_repeats: int = 1, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.num_repeats = num_repeats
        self.seconds = ExplanationSeconds(num_repeats)

    def score(self, case: Case) -> Tensor:
        """Return the seconds per image, (N,)."""
        return case[self.seconds]
