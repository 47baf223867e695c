"""Average gain."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import LEAST_SCORE
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[-1.0, 0.0]]]]), torch.tensor([[[1.0, 2.0]]])
        >>> metric = AverageGain()
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # from 1/4 to 1/2, of 3/4 that could be gained
        tensor(33.3333)
    """

    higher_is_better = True
    range = (0.0, 100.0)
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(self, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.masked_image = MaskedImage()
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return the gain in percent, (N,); NaN where undefined."""
        classifier, logits = case.classifier, case[self.masked_image]
        rest_before = classifier.probability_of_others(case.logits, case.target)
        rest_after = classifier.probability_of_others(logits, case.target)
        gain = (rest_before - rest_after).clamp(min=0) / rest_before * 100.0
        return torch.where(rest_before >= LEAST_SCORE, gain, torch.nan)
