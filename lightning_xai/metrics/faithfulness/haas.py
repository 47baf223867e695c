"""HAAS, the heatmap-assisted accuracy score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def haas(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
    *,
    value_range: tuple[float, float] | None = None,
) -> Tensor:
    """Return the change of correctness of each image, float32 (N,) in {-1, 0, 1}; see `HAAS`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.
        value_range: Least and greatest value that an image can have; each image's own range if None.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> haas(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    before, after = HAAS(value_range).score(Case(model, images, target, heatmaps=heatmaps)).unbind(1)
    return after - before


class HAAS(ExplanationMetric):
    """Does the model get better when the image is enhanced by its heatmap?

    Accuracy on ``clip(x_n (1 + m_n), −1, 1)`` over accuracy on x, where x_n is the image scaled to [-1, 1] and m_n the
    heatmap of the *label* divided by its largest magnitude; ≥ 0, above 1 is good, higher is better. A ratio of two
    counts over all images: NaN if none is classified correctly. A heatmap of zeros changes nothing. Fake-CAM fools it
    if brightening helps: any map of ones does the same.

    Evaluations per image: 2, the unchanged image shared.

    Source: Lee et al., "Heatmap Assisted Accuracy Score Evaluation Method for Machine-Centric Explainable Deep Neural
    Networks", IEEE Access 2022, https://doi.org/10.1109/ACCESS.2022.3184453, as restated by Lamprou, "Grad-CAM vs
    HiResCAM", 2023, eq. 9-10.

    Args:
        value_range: Least and greatest value that an image can have; each image's own range if None.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = HAAS()
        >>> metric.update(
        ...     model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.zeros(3, 4, 4), target=torch.tensor([0, 1, 0])
        ... )
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    range = (0.0, float("inf"))

    def __init__(
        self,
        value_range: tuple[float, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__([MaskedImage("enhanced", value_range=value_range), Logits()], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return correctness of the image and of the enhanced image, (N, 2)."""
        enhanced = case[self.evidence[0]]
        return torch.stack([logits.argmax(1) == case.target for logits in (case.logits, enhanced)], 1).float()

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the ratio of accuracies."""
        before, after = rows[:, 0].sum(), rows[:, 1].sum()
        return torch.where(before > 0, after / before, torch.nan)
