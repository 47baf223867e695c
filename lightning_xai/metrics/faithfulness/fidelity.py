"""Fidelity."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[2.0, 1.0]])
        >>> images, heatmaps = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = Fidelity()
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # logit 1 as it is, -1 without the first pixel
        tensor(1.)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(
        self,
        percentile: float = 10.0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.percentile = percentile
        self.hidden = MaskedImage("hidden", percentile)
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return the difference of correctness, (N,); NaN where undefined."""
        intact, hidden = case[self.logits], case[self.hidden]
        before, after = (logits.argmax(1) == case.target for logits in (intact, hidden))
        return torch.where(hidden.isnan().any(1), torch.nan, before.float() - after.float())
