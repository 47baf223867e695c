"""Average drop."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import LEAST_SCORE, scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class AverageDrop(ExplanationMetric):
    """How much confidence is lost when only what the heatmap shows is kept?

    ``max(0, f(x) − f(x ⊙ m̂)) / f(x) · 100`` with ``f`` the probability of the target class and m̂ the min-max
    normalised heatmap; in percent, [0, 100], lower is better. Undefined for degenerate heatmaps and for ``f(x) <
    1e-6``. Fake-CAM fools it: keeping all but one pixel loses nothing.

    Evaluations per image: 2, the unchanged image shared.

    Source: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional
    Networks", WACV 2018, https://arxiv.org/abs/1710.11063.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[1.0, 2.0]]])
        >>> metric = AverageDrop()
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # from 3/4 to 1/2
        tensor(33.3333)
    """

    higher_is_better = False
    range = (0.0, 100.0)
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(self, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.masked_image = MaskedImage()
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return the value in percent, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.masked_image)
        return torch.where(before >= LEAST_SCORE, (before - after).clamp(min=0) / before * 100.0, torch.nan)
