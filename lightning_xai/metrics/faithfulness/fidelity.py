"""Fidelity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def fidelity(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    percentile: float = 10.0,
) -> Tensor:
    """Return the fidelity of each image, float32 (N,) in {-1, 0, 1}, higher is better; see `Fidelity`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        percentile: Percentile of the positive heat from which pixels are hidden.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> fidelity(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = Fidelity(percentile)
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class Fidelity(ExplanationMetric):
    """Does the model lose the image when what the heatmap shows is hidden?

    ``1[x correct] − 1[x without its hot pixels correct]``; hot are pixels with positive heat at or above the
    percentile of the positive heat, which become 0. The mean is a difference of accuracies in [-1, 1], higher is
    better. Undefined without positive heat. Fake-CAM fools it: it hides the whole image.

    Evaluations per image: 2, the unchanged image shared.

    Source: Pope et al., "Explainability Methods for Graph Convolutional Neural Networks", CVPR 2019, with the
    percentile of Nagy et al., "Analysis and Evaluation of Grad-CAM Explanations".

    Args:
        percentile: Percentile of the positive heat from which pixels are hidden.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = Fidelity()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        percentile: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__([MaskedImage("hidden", percentile), Logits()], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the difference of correctness, (N,); NaN where undefined."""
        hidden = case[self.evidence[0]]
        before, after = (logits.argmax(1) == case.target for logits in (case.logits, hidden))
        return torch.where(hidden.isnan().any(1), torch.nan, before.float() - after.float())
