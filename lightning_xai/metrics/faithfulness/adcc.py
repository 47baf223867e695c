"""ADCC, average drop, coherency and complexity in one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import is_degenerate, normalized
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.evidence.removal.masked_heatmap import MaskedHeatmap
from lightning_xai.evidence.removal.masked_image import MaskedImage
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.faithfulness.seen_through import LEAST_SCORE, scores_seen_through
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def adcc(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
) -> Tensor:
    """Return the ADCC of each image, float32 (N,) in [0, 1], higher is better; see `ADCC`.

    Args:
        model: A module or a `Classifier`.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Class per image, int64 (N,), or one class for all.
        heatmaps: Of the images, float (N, H, W); made by ``explainer`` if None.


    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> from lightning_xai import CenterHeatmap
        >>> adcc(net, torch.rand(3, 1, 4, 4), CenterHeatmap(), target=1).shape
        torch.Size([3])
    """
    metric = ADCC()
    return metric.score(Case(model, images, target, heatmaps=heatmaps, explainer=explainer))


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
        **kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> from lightning_xai import CenterHeatmap
        >>> metric = ADCC()
        >>> metric.update(model=net, images=torch.rand(3, 1, 4, 4), explainer=CenterHeatmap(), target=1)
        >>> metric.compute().shape
        torch.Size([])
    """

    higher_is_better = True
    range = (0.0, 1.0)
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(
        self,
        **kwargs: Any,
    ) -> None:
        super().__init__([MaskedImage(), MaskedHeatmap(), Logits()], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the harmonic mean, (N,); NaN where undefined."""
        before, after = scores_seen_through(case, self.evidence[0])
        again = case[self.evidence[1]]
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
