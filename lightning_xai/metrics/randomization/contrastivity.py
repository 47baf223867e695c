"""Contrastivity."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import positive_percentile
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class Contrastivity(ExplanationMetric):
    """Does the heatmap show other pixels than the heatmaps of other classes?

    v_j are the pixels whose heat for class j is at least the percentile of its positive values, none if no value is
    positive. The value is the mean over the at most ``num_classes`` most probable other classes of
    ``|v_c ⊕ v_j| / |v_c ∨ v_j|``, classes with an empty union left out; in [0, 1], higher is better. Undefined if all
    unions are empty. Fake-CAM scores 0, the worst.

    Evaluations per image: at most ``num_classes`` heatmaps and 1.

    Source: Pope et al., "Explainability Methods for Graph Convolutional Neural Networks", CVPR 2019, for several
    classes and with the percentile of Nagy, Nimara and Qian, "Analysis and Evaluation of Grad-CAM Explanations".

    Args:
        percentile: Percentile of a heatmap's positive values from which its pixels count.
        num_classes: Most other classes, the most probable ones.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range; when updated, if the model has only one class.

    Example:
        >>> import torch
        >>> from lightning_xai import Saliency
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
        >>> net[1].weight.data = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])  # the heatmaps of the two classes
        >>> metric = Contrastivity()
        >>> metric.update(model=net, images=torch.ones(1, 1, 1, 3), explainer=Saliency(), target=0)
        >>> metric.compute()  # of the three pixels that either shows, both show one
        tensor(0.6667)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True

    def __init__(self, percentile: float = 10.0, num_classes: int = 10, **options: Unpack[MetricOptions]) -> None:
        check_at_least(percentile, 0.0, "percentile")
        if percentile > 100:
            raise ValueError(f"Expected `percentile` to be at most 100, but got {percentile}.")
        super().__init__(**options)
        self.percentile = percentile
        self.num_classes = num_classes
        self.class_heatmaps = ClassHeatmaps(num_classes)

    def score(self, case: Case) -> Tensor:
        """Return the mean share of pixels that differ, (N,); NaN where no class has positive heat."""
        heatmaps = case[self.class_heatmaps].heatmaps
        own = self._shown(case.heatmaps)[:, None]
        others = self._shown(heatmaps.flatten(0, 1)).view(len(own), -1, own.shape[2])
        # 0 / 0 where the union is empty
        return ((own ^ others).sum(2) / (own | others).sum(2)).nanmean(1)

    def _shown(self, heatmaps: Tensor) -> Tensor:
        """Return the pixels (n, HW) at or above the percentile of the positive heat of each heatmap (n, H, W)."""
        return heatmaps.flatten(1) >= positive_percentile(heatmaps, self.percentile)[:, None]
