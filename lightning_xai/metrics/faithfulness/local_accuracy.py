"""Local accuracy."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.faithfulness.seen_through import scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[1.0, 2.0]]])
        >>> metric = LocalAccuracy()
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # log 3 - log 1
        tensor(1.0986)
    """

    higher_is_better = False
    range = (0.0, float("inf"))
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(self, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.masked_image = MaskedImage()
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return the absolute difference of logits, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.masked_image, "logit")
        return (before - after).abs()
