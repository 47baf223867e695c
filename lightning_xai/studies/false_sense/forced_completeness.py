"""Completeness of explainers that do not promise it."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline
from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.faithfulness.completeness import Completeness
from lightning_xai.metrics.metric import MetricOptions


class ForcedCompleteness(Completeness):
    """Is the heatmap complete, whether or not its method promises that?

    1 if the heat misses the difference of the logits by at most ``tolerance`` of it, else 0. The mean is a share of
    images in [0, 1], higher is better. `Completeness` gives the error itself, which is huge for maps in another unit
    and images whose logit hardly changes, and refuses these maps. The paper's implementation asks for equality (128,
    156), which no sum in float32 has.

    Args:
        tolerance: Share of the difference of the logits.
        baseline: See `Completeness`.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.
    """

    higher_is_better = True
    range = (0.0, 1.0)

    def __init__(self, tolerance: float = 0.05, baseline: Baseline = 0.0, **options: Unpack[MetricOptions]) -> None:
        check_at_least(tolerance, 0.0, "tolerance")
        super().__init__(baseline, **options)
        self.tolerance = tolerance

    def score(self, case: Case) -> Tensor:
        """Return whether it is complete, (N,)."""
        return (self.error_of_sum(case) <= self.tolerance).float()
