"""Local accuracy."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def local_accuracy(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
) -> Tensor:
    """Return the local accuracy error of each image, float32 (N,) ≥ 0, lower is better; see `LocalAccuracy`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.


    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> local_accuracy(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = LocalAccuracy()
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class LocalAccuracy(ExplanationMetric):
    """Does the model say the same when only what the heatmap shows is kept?

    ``|y(x) − y(x ⊙ m̂)|`` with ``y`` the logit of the target class and m̂ the min-max normalised heatmap; ≥ 0 in the
    unit of the logit, lower is better. It grows with the scale of the logits: compare only maps of one model.
    Undefined for degenerate heatmaps. Fake-CAM fools it: keeping all but one pixel changes nothing.

    Evaluations per image: 2, the unchanged image shared.

    Source: the property of Lundberg & Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017,
    https://arxiv.org/abs/1705.07874, as measured by Zhang et al., "Saliency Maps Give a False Sense of Explanability
    to Image Classifiers", 2024.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = LocalAccuracy()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), heatmaps=torch.rand(3, 4, 4), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    can_be_undefined = True

    def __init__(
        self,
        **kwargs: Any,
    ) -> None:
        super().__init__([MaskedImage(), Logits()], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the absolute difference of logits, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.evidence[0], "logit")
        return (before - after).abs()
