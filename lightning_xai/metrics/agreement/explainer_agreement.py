"""Agreement between explainers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_maps
from lightning_xai.evidence.annotations import check_others
from lightning_xai.evidence.case import Case
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric


def explainer_agreement(heatmaps: Tensor, other_heatmaps: Mapping[str, Tensor]) -> Tensor:
    """Return how well each heatmap's ranks agree with other explainers', float32 (N,) in [-1, 1]; `ExplainerAgreement`.

    Args:
        heatmaps: Floating point (N, H, W).
        other_heatmaps: Name of another explainer -> its heatmaps (N, H, W) of the same images and target.

    Example:
        >>> heatmaps = torch.tensor([[[1.0, 2.0, 4.0]]])
        >>> explainer_agreement(heatmaps, {"a": 3.0 * heatmaps, "b": -heatmaps, "c": 2.0**heatmaps})
        tensor([0.3333])
    """
    heatmaps = check_maps(heatmaps, None, "heatmaps").float()
    others = check_others(other_heatmaps, heatmaps)
    return torch.stack([spearman(heatmaps, maps) for maps in others.values()], 1).nanmean(1)


class ExplainerAgreement(ExplanationMetric):
    """Do other explainers see what this one sees?

    Mean over the other explainers of Spearman's correlation (average ranks) of the two heatmaps' pixels; in [-1, 1],
    without direction: explainers may agree and all be wrong. Pairs with a constant heatmap are left out; undefined if
    no pair remains. Fake-CAM agrees with nothing but itself.

    Evaluations per image: none.

    Source: Krishna et al., "The Disagreement Problem in Explainable Machine Learning: A Practitioner's Perspective",
    2022, https://arxiv.org/abs/2202.01602.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = ExplainerAgreement()
        >>> heatmaps = torch.tensor([[[1.0, 2.0, 4.0]]])
        >>> metric.update(heatmaps=heatmaps, other_heatmaps={"a": 3.0 * heatmaps})
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = None
    range = (-1.0, 1.0)
    needs = frozenset({"other_heatmaps"})
    can_be_undefined = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the mean correlation with the other heatmaps, (N,)."""
        return explainer_agreement(case.heatmaps, case.other_heatmaps)
