"""Faithfulness estimate."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.removal.set_drops import SetDrops
from lightning_xai.metrics.correlation import pearson
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class FaithfulnessEstimate(ExplanationMetric):
    """Does the score fall by as much as the heatmap says, set by set?

    Pixels in descending relevance are cut into sets; each set alone is replaced, and its summed attribution is
    correlated (Pearson) with the fall of the target's probability; in [-1, 1], higher is better. Undefined where
    either side is constant, as for a constant map, so Fake-CAM gains next to nothing.

    Evaluations per image: ``num_chunks + 1``, the unchanged image shared.

    Source: Alvarez-Melis & Jaakkola, "Towards Robust Interpretability with Self-Explaining Neural Networks", NeurIPS
    2018, https://arxiv.org/abs/1806.07538.

    Args:
        num_chunks: Sets of pixels.
        baseline: What a removed set becomes; see `baseline_images`.
        seed: Of random ties.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = FaithfulnessEstimate(num_chunks=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # heat 2 and 1, drops of 1/4 and 0
        tensor(1.)
    """

    higher_is_better = True
    range = (-1.0, 1.0)
    can_be_undefined = True

    def __init__(
        self,
        num_chunks: int = 64,
        baseline: Baseline = "minimum",
        seed: int = 0,
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_chunks = num_chunks
        self.baseline = checked_baseline(baseline)
        self.seed = seed
        self.ties: Ties = ties
        self.drops = SetDrops(num_chunks, "value", baseline, seed=seed, ties=ties)

    def score(self, case: Case) -> Tensor:
        """Return Pearson's correlation of attribution and drop, (N,); NaN where undefined."""
        drops = case[self.drops]
        return pearson(drops.attribution, drops.drop[:, :, 0])
