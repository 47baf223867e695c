"""Stability of heatmaps under an adversarial step."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.neighbours.adversarial_neighbour import AdversarialNeighbour
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


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
        epsilon: Step of the attack, as a share of the range of the values: of the case's `value_range`, else of each
            image's own. 2/255 is two grey levels of eight bits.
        absolute: Whether ``epsilon`` is in the units of the images instead.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> from lightning_xai import InputXGradient
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
        >>> net[1].weight.data = torch.tensor([[1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
        >>> metric = AdversarialStability(epsilon=1.0)  # takes 1 from the first two pixels and gives it to the others
        >>> images = torch.tensor([[[[4.0, 0.0], [0.0, 1.5]]]])  # heat 4 0 0 -1.5 becomes 3 -1 -1 -2.5, the logit -1.5
        >>> metric.update(model=net, images=images, explainer=InputXGradient(), target=0)
        >>> metric.compute(), metric.success_rate()
        (tensor(1.), tensor(1.))
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    columns = ("correlation", "success")
    optional_inputs = frozenset({"value_range"})
    can_be_undefined = True

    def __init__(self, epsilon: float = 2 / 255, absolute: bool = False, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.epsilon = epsilon
        self.absolute = absolute
        self.neighbour = AdversarialNeighbour(epsilon, absolute)

    def score(self, case: Case) -> Tensor:
        """Return the correlation and the attack's success (1, 0, or −1 for images that were wrong), (N, 2)."""
        attacked = case[self.neighbour]
        success = torch.where(attacked.correct_before, (~attacked.correct_after).float(), -1.0)
        return torch.stack([spearman(case.heatmaps, attacked.heatmaps), success], 1)

    def aggregate(self, rows: Tensor) -> Tensor:
        """Return the mean correlation."""
        return rows[:, 0].nanmean()

    def success_rate(self) -> Tensor:
        """Return the share of correct predictions so far on this process that the attack broke, in [0, 1]."""
        rows = self.rows
        attackable = rows[rows[:, 1] >= 0, 1] if len(rows) else rows
        return attackable.mean()
