"""ADCC, average drop, coherency and complexity in one."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate, normalized
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_heatmap import MaskedHeatmap
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.faithfulness.seen_through import LEAST_SCORE, scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class ADCC(ExplanationMetric):
    """Is the heatmap coherent, concise and sufficient at once?

    Harmonic mean of coherency, ``(1 + Pearson(m(x), m(x ⊙ m̂))) / 2`` for the same class (0 if the second map is
    degenerate), conciseness, ``1 − mean(m̂)``, and ``1 − AverageDrop / 100``; 0 if one of them is 0; in [0, 1], higher
    is better. Undefined where the heatmap is degenerate or the average drop is. Fake-CAM does not fool it: its
    conciseness is next to nothing.

    Evaluations per image: one heatmap and 2, the unchanged image shared.

    Source: Poppi et al., "Revisiting The Evaluation of Class Activation Mapping for Explainability", CVPRW 2021,
    https://arxiv.org/abs/2104.10252.

    Args:
        **options: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[0.0, 1.0, 0.0]])  # the pixel in the centre alone decides
        >>> images = torch.ones(1, 1, 1, 3)
        >>> metric = ADCC()
        >>> metric.update(model=net, images=images, explainer=CenterHeatmap(), target=1)
        >>> metric.compute()  # coherency 1, conciseness 2/3, nothing dropped: 3 / (1 + 3/2 + 1)
        tensor(0.8571)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(self, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.masked_image = MaskedImage()
        self.masked_heatmap = MaskedHeatmap()
        self.logits = Logits()

    def score(self, case: Case) -> Tensor:
        """Return the harmonic mean, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.masked_image)
        again = case[self.masked_heatmap]
        coherency = (1.0 + pearson(case.heatmaps, again)) / 2.0
        terms = torch.stack(
            [
                torch.where(is_degenerate(again), 0.0, coherency),
                1.0 - normalized(case.heatmaps).flatten(1).mean(1),
                1.0 - (before - after).clamp(min=0) / before,
            ]
        )
        undefined = is_degenerate(case.heatmaps) | (before < LEAST_SCORE)
        mean = torch.where((terms <= 0).any(0), 0.0, 3.0 / terms.clamp(min=1e-12).reciprocal().sum(0))
        return torch.where(undefined, torch.nan, mean)
