"""Average increase."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class AverageIncrease(ExplanationMetric):
    """Is the model more confident when only what the heatmap shows is kept?

    ``1[f(x ⊙ m̂) > f(x)] · 100`` with ``f`` the probability of the target class and m̂ the min-max normalised heatmap;
    the mean is a share of images in percent, [0, 100], higher is better. Undefined for degenerate heatmaps. Fake-CAM
    fools it: about half of all images count.

    Evaluations per image: 2, the unchanged image shared.

    Source: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional
    Networks", WACV 2018, https://arxiv.org/abs/1710.11063.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[-1.0, 0.0]]]]), torch.tensor([[[1.0, 2.0]]])
        >>> metric = AverageIncrease()
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # from 1/4 to 1/2
        tensor(100.)
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
        """Return the value in percent, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.masked_image)
        return torch.where(after.isnan(), torch.nan, (after > before).float() * 100.0)
