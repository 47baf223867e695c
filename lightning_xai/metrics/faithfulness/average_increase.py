"""Average increase."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def average_increase(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
) -> Tensor:
    """Return whether confidence increases for each image, float32 (N,) 0 or 100; see `AverageIncrease`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.


    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> average_increase(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = AverageIncrease()
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class AverageIncrease(ExplanationMetric):
    """Is the model more confident when only what the heatmap shows is kept?

    ``1[f(x ⊙ m̂) > f(x)] · 100`` with ``f`` the probability of the target class and m̂ the min-max normalised heatmap;
    the mean is a share of images in percent, [0, 100], higher is better. Undefined for degenerate heatmaps. Fake-CAM
    fools it: about half of all images count.

    Evaluations per image: 2, the unchanged image shared.

    Source: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional
    Networks", WACV 2018, https://arxiv.org/abs/1710.11063.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = AverageIncrease()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (0.0, 100.0)
    can_be_undefined = True

    def __init__(
        self,
        **kwargs: Any,
    ) -> None:
        super().__init__([MaskedImage(), Logits()], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the value in percent, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.evidence[0])
        return torch.where(after.isnan(), torch.nan, (after > before).float() * 100.0)
