"""Stability of heatmaps under an adversarial step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.adversarial_neighbour import AdversarialNeighbour, Attacked
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Model


def adversarial_stability(
    model: Model,
    images: Tensor,
    explainer: Explainer,
    target: Tensor | int,
    *,
    heatmaps: Tensor | None = None,
    epsilon: float = 2 / 255,
) -> tuple[Tensor, Tensor]:
    """Return how alike the heatmaps before and after an attack are, and its success; see `AdversarialStability`.

    Args:
        model: A module or a `Classifier`; its scores must be differentiable by the images.
        images: Floating point (N, C, H, W), as the model sees them.
        explainer: What makes the heatmaps.
        target: Label per image, int64 (N,), or one for all.
        heatmaps: Of the unchanged images, float (N, H, W); made by ``explainer`` if None.
        epsilon: Step of the attack, in the units of the images.

    Returns:
        Spearman's correlation, float32 (N,) in [-1, 1], NaN where a heatmap is constant; and success, float32 (N,): 1
        or 0, −1 where the image was not classified as its target to begin with.

    Example:
        >>> import torch
        >>> from lightning_xai import CenterHeatmap
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> adversarial_stability(net, torch.rand(1, 1, 2, 2), CenterHeatmap(), target=0)[0]
        tensor([nan])
    """
    case = Case(model, images, target, heatmaps=heatmaps, explainer=explainer)
    correlation, success = AdversarialStability(epsilon).score(case).unbind(1)
    return correlation, success


class AdversarialStability(ExplanationMetric):
    """Does the heatmap of the label survive an attack on the prediction?

    Spearman's correlation (average ranks) between ``m(x)`` and ``m(x + epsilon · sign(∂L/∂x))``, both for the label,
    where L is the label's cross-entropy (the fast gradient sign method), not clamped; in [-1, 1], higher is better.
    Undefined where a heatmap is constant. `success_rate` says beside it how many predictions the attack broke, without
    which the number says little: a heatmap may well follow a broken prediction. Every map that ignores the image is
    perfectly stable, Fake-CAM too: read it beside faithfulness.

    Evaluations per image: 2, one of them with its gradient, and 1 heatmap.

    Source: Nagy et al., "Analysis and Evaluation of Grad-CAM Explanations", appendix C, with the attack of Goodfellow
    et al., "Explaining and Harnessing Adversarial Examples", ICLR 2015, https://arxiv.org/abs/1412.6572.

    Args:
        epsilon: Step of the attack, in the units of the images; 2/255 suits images in [0, 1].
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import FakeCAM
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> metric = AdversarialStability()
        >>> metric.update(model=net, images=torch.rand(1, 1, 2, 2), explainer=FakeCAM(), target=0)
        >>> bool(metric.compute() > 0.99)
        True
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    needs = frozenset({"explainer"})
    can_be_undefined = True

    def __init__(self, epsilon: float = 2 / 255, **kwargs: Any) -> None:
        super().__init__([AdversarialNeighbour(epsilon)], **kwargs)

    def score(self, case: Case) -> Tensor:
        """Return the correlation and the attack's success (1, 0, or −1 for images that were wrong), (N, 2)."""
        found: Attacked = case[self.evidence[0]]
        success = torch.where(found.correct_before, (~found.correct_after).float(), -1.0)
        return torch.stack([spearman(case.heatmaps, found.heatmaps), success], 1)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean correlation."""
        return rows[:, 0].nanmean()

    def success_rate(self) -> Tensor:
        """Return the share of correct predictions so far on this process that the attack broke, in [0, 1]."""
        rows = self.rows
        attackable = rows[rows[:, 1] >= 0, 1] if len(rows) else rows
        return attackable.mean()
