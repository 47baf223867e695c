"""Contrastivity."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import positive_percentile
from lightning_xai.evidence.models.class_heatmaps import ClassHeatmaps, ClassMaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def contrastivity(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    percentile: float = 10.0,
    num_classes: int = 10,
) -> Tensor:
    """Return how different each heatmap is from those of other classes, float32 (N,) in [0, 1]; see `Contrastivity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the target, float (N, H, W); made by ``explainer`` if None.
        percentile: Percentile of a heatmap's positive values from which its pixels count.
        num_classes: Most other classes, the most probable ones.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> contrastivity(torch.nn.Flatten(), torch.rand(1, 1, 3, 3), CenterHeatmap(), target=0)
        tensor([0.])
    """
    metric = Contrastivity(percentile, num_classes)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


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
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range; when updated, if the model has only one class.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> metric = Contrastivity()
        >>> metric.update(model=torch.nn.Flatten(), images=torch.rand(1, 1, 3, 3), explainer=CenterHeatmap(), target=0)
        >>> metric.compute()
        tensor(0.)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(self, percentile: float = 10.0, num_classes: int = 10, **kwargs: Any) -> None:
        check_at_least(percentile, 0.0, "percentile")
        if percentile > 100:
            raise ValueError(f"Expected `percentile` to be at most 100, but got {percentile}.")
        super().__init__([ClassHeatmaps(num_classes)], {"percentile": percentile}, **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the mean share of pixels that differ, (N,); NaN where no class has positive heat."""
        found: ClassMaps = case[self.evidence[0]]
        own = self._shown(case.heatmaps)[:, None]
        others = self._shown(found.heatmaps.flatten(0, 1)).view(len(own), -1, own.shape[2])
        # 0 / 0 where the union is empty
        return ((own ^ others).sum(2) / (own | others).sum(2)).nanmean(1)

    def _shown(self, heatmaps: Tensor) -> Tensor:
        """Return the pixels (n, HW) at or above the percentile of the positive heat of each heatmap (n, H, W)."""
        return heatmaps.flatten(1) >= positive_percentile(heatmaps, self.settings["percentile"])[:, None]
