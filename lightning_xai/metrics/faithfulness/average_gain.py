"""Average gain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import LEAST_SCORE
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def average_gain(
    model: Model,
    images: Tensor,
    heatmaps: Tensor,
    target: Tensor | int,
) -> Tensor:
    """Return the average gain of each image in percent, float32 (N,), higher is better; see `AverageGain`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        heatmaps: Floating point (N, H, W), raw.
        target: Class per image, int64 (N,), or one class for all.


    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> average_gain(net, torch.rand(3, 1, 4, 4), torch.rand(3, 4, 4), target=1).shape
        torch.Size([3])
    """
    metric = AverageGain()
    return metric.score(Case(model, images, target, heatmaps=heatmaps))


class AverageGain(ExplanationMetric):
    """How much confidence is gained when only what the heatmap shows is kept?

    ``max(0, f(x ⊙ m̂) − f(x)) / (1 − f(x)) · 100`` with ``f`` the probability of the target class and m̂ the min-max
    normalised heatmap; in percent, [0, 100], higher is better. 1 − f is computed from the other classes, because in
    float32 it is 0 from a margin of 17 logits on; undefined below 1e-6, and for degenerate heatmaps. Fake-CAM fools it
    less than average increase: it gains next to nothing, but half of the time.

    Evaluations per image: 2, the unchanged image shared.

    Source: Zhang et al., "Opti-CAM: Optimizing saliency maps for interpretability", 2023,
    https://arxiv.org/abs/2301.07002.

    Args:
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> metric = AverageGain()
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
        """Return the gain in percent, (N,); NaN where undefined."""
        classifier, logits = case.classifier, case[self.evidence[0]]
        rest_before = classifier.probability_of_others(case.logits, case.target)
        rest_after = classifier.probability_of_others(logits, case.target)
        gain = (rest_before - rest_after).clamp(min=0) / rest_before * 100.0
        return torch.where(rest_before >= LEAST_SCORE, gain, torch.nan)
