"""Agreement between explainers."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric


class ExplainerAgreement(ExplanationMetric):
    """Do other explainers see what this one sees?

    Mean over the other explainers of Spearman's correlation (average ranks) of the two heatmaps' pixels; in [-1, 1],
    without direction: explainers may agree and all be wrong. Pairs with a constant heatmap are left out; undefined if
    no pair remains. Fake-CAM agrees with nothing but itself.

    Evaluations per image: none.

    Source: Krishna et al., "The Disagreement Problem in Explainable Machine Learning: A Practitioner's Perspective",
    2022, https://arxiv.org/abs/2202.01602.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> metric = ExplainerAgreement()
        >>> heatmaps = torch.tensor([[[1.0, 2.0, 4.0]]])
        >>> others = {"a": 3.0 * heatmaps, "b": -heatmaps, "c": 2.0**heatmaps}
        >>> metric.update(heatmaps=heatmaps, other_heatmaps=others)
        >>> metric.compute()  # of 1, -1, 1
        tensor(0.3333)
    """

    higher_is_better = None
    range = (-1.0, 1.0)
    inputs = frozenset({"heatmaps", "other_heatmaps"})
    can_be_undefined = True

    def score(self, case: Case) -> Tensor:
        """Return the mean correlation with the other heatmaps, (N,)."""
        return torch.stack([spearman(case.heatmaps, other) for other in case.other_heatmaps.values()], 1).nanmean(1)
