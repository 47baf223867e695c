"""Consistency of heatmaps under geometric transforms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.transformed import TRANSFORMS, Transformed, TransformedMaps
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def transform_consistency(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    rotation: float = 15.0,
    crop: float = 0.9,
    scale: float = 0.75,
) -> Tensor:
    """Return how well each heatmap follows the image, float32 (N,) in [-1, 1]; see `TransformConsistency`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the unchanged images, float (N, H, W); made by ``explainer`` if None.
        rotation: Degrees.
        crop: Share of height and width that is kept and enlarged.
        scale: Share of height and width to which the image is reduced before it is enlarged again.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))
        >>> transform_consistency(net, torch.rand(1, 1, 16, 16), CenterHeatmap(), target=0) > 0.99
        tensor([True])
    """
    metric = TransformConsistency(rotation, crop, scale)
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


class TransformConsistency(ExplanationMetric):
    """Does the heatmap follow when the image is turned, mirrored, cropped or coarsened?

    Spearman's correlation (average ranks) between ``m(T x)``, the heatmap of the transformed image for the class of x,
    and ``T m(x)``, the transformed heatmap, on the pixels that come from inside the image; mean over the transforms T
    that keep the prediction (the largest logit): rotation, horizontal flip, crop of the centre enlarged to the image's
    size, reduction and enlargement back, all bilinear; in [-1, 1], higher is better. A transform for which one of the
    two maps is constant is left out; undefined if none remains, or if the heatmap is constant. Any map that is
    symmetric about the centre is consistent whatever the model does, a centred blob at 1. Fake-CAM gets the flip wrong
    and keeps the reduction.

    Evaluations per image: 4, 4 heatmaps, and the unchanged image.

    Source: this package's reading of "consistency" in studies of heatmaps; the equivariance of heatmaps is that of Wang
    et al., "Self-supervised Equivariant Attention Mechanism", CVPR 2020, https://arxiv.org/abs/2004.04581.

    Args:
        rotation: Degrees; pixels from outside are those of the mirrored image, and not compared.
        crop: Share of height and width that is kept and enlarged.
        scale: Share of height and width to which the image is reduced before it is enlarged again.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(1, 2))
        >>> metric = TransformConsistency()
        >>> metric.update(model=net, images=torch.rand(1, 1, 16, 16), explainer=CenterHeatmap(), target=0)
        >>> bool(metric.compute() > 0.99)
        True
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(self, rotation: float = 15.0, crop: float = 0.9, scale: float = 0.75, **kwargs: Any) -> None:
        self._transformed = Transformed(rotation, crop, scale)
        super().__init__([self._transformed], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the mean correlation, (N,); NaN where undefined."""
        found: TransformedMaps = case[self.evidence[0]]
        agreement = [self._agreement(name, case.heatmaps, found.heatmaps[:, i]) for i, name in enumerate(TRANSFORMS)]
        return torch.where(found.kept, torch.stack(agreement, 1), torch.nan).nanmean(1)

    def _agreement(self, transform: str, heatmaps: Tensor, of_transformed: Tensor) -> Tensor:
        size = (heatmaps.shape[1], heatmaps.shape[2])
        valid = self._transformed.valid(transform, size, heatmaps.device)
        moved = self._transformed.apply(transform, heatmaps[:, None])[:, 0]
        return spearman(of_transformed[:, valid], moved[:, valid])
