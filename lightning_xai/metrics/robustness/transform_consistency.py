"""Consistency of heatmaps under geometric transforms."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.transformed import TRANSFORMS, Transformed
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import Saliency
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])  # the heatmap of every image
        >>> metric = TransformConsistency(rotation=0.0, crop=1.0, scale=1.0)  # the flip alone changes something
        >>> metric.update(model=net, images=torch.ones(1, 1, 1, 4), explainer=Saliency(), target=1)
        >>> metric.compute()  # of 1, -1, 1, 1
        tensor(0.5000)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self, rotation: float = 15.0, crop: float = 0.9, scale: float = 0.75, **options: Unpack[MetricOptions]
    ) -> None:
        super().__init__(**options)
        self.rotation = rotation
        self.crop = crop
        self.scale = scale
        self.transformed = Transformed(rotation, crop, scale)

    def score(self, case: Case) -> Tensor:
        """Return the mean correlation, (N,); NaN where undefined."""
        transformed = case[self.transformed]
        agreement = [
            self._agreement(name, case.heatmaps, of_transformed)
            for name, of_transformed in zip(TRANSFORMS, transformed.heatmaps.unbind(1), strict=True)
        ]
        return torch.where(transformed.same_prediction, torch.stack(agreement, 1), torch.nan).nanmean(1)

    def _agreement(self, transform: str, heatmaps: Tensor, of_transformed: Tensor) -> Tensor:
        size = (heatmaps.shape[1], heatmaps.shape[2])
        valid = self.transformed.valid(transform, size, heatmaps.device)
        moved = self.transformed.apply(transform, heatmaps[:, None])[:, 0]
        return spearman(of_transformed[:, valid], moved[:, valid])
