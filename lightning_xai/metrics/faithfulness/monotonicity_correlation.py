"""Monotonicity correlation."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.removal.set_drops import SetDrops
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class MonotonicityCorrelation(ExplanationMetric):
    """Does the score become less certain where the heatmap is stronger, set by set?

    Pixels in increasing ``|m|`` are cut into sets; each set alone is replaced by uniform noise over the image's own
    range, and ``Σ|m|`` of the set is correlated (Spearman) with the mean of the squared change of the target's
    probability, divided by its square; in [-1, 1], higher is better. Undefined where either side is constant, as for a
    constant map, so Fake-CAM gains next to nothing.

    Evaluations per image: ``num_sets · num_draws + 1``, the unchanged image shared.

    Source: Nguyen & Martínez, "On quantitative aspects of model interpretability", 2020,
    https://arxiv.org/abs/2007.07584.

    Args:
        num_sets: Sets of pixels.
        num_draws: Draws of the noise.
        seed: Of noise and random ties.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = MonotonicityCorrelation(num_sets=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # noise moves the score in the hotter pixel alone
        tensor(1.)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    inputs = frozenset({"heatmaps", "target"})
    can_be_undefined = True

    def __init__(
        self,
        num_sets: int = 32,
        num_draws: int = 10,
        seed: int = 0,
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_sets = num_sets
        self.num_draws = num_draws
        self.seed = seed
        self.ties: Ties = ties
        self.drops = SetDrops(num_sets, "magnitude", "uniform", num_draws, seed, ties)

    def score(self, case: Case) -> Tensor:
        """Return Spearman's correlation of attribution and uncertainty, (N,); NaN where undefined."""
        drops = case[self.drops]
        before = case.classifier.select(case.logits, case.target, "probability")
        return spearman(drops.attribution, drops.drop.square().mean(2) / before.square()[:, None])
