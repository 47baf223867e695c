"""Insertion minus deletion relative to the score of the unchanged image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions

_LEAST_SCORE = 1e-3


class RelativeFaithfulness(ExplanationMetric):
    """Faithfulness freed of most of the model's confidence.

    `InsertionDeletion` divided by the probability of the target class in the unchanged image, which no choice of
    points moves; higher is better; logged as ``faithfulness_relative``. In [-1, 1] where no changed image makes the
    model surer than the unchanged one; an image of which it is less sure than of its parts can exceed that. Undefined
    where that probability is below 1e-3. Fake-CAM does not fool it: a constant map scores like a random one.

    Evaluations per image: 22 (``2 (num_steps + 1)`` for a number, at most 450 for ``"auto"``), both curves and the
    unchanged image shared.

    Source: this package; it answers the measurement that insertion minus deletion grows with confidence alone.

    Args:
        num_steps: ``"radau"`` for ten points of a quadrature on each curve, a number of equal parts, or ``"auto"``; see
            `MaskingCurve`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties.
        tolerance: Greatest error bound of each area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        baseline: What deleted pixels become; see `baseline_images`.
        insertion_baseline: What insertion starts from.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> blind = torch.nn.Threshold(0.5, 0.0)  # to what is left of the first pixel in the blurred image
        >>> net = torch.nn.Sequential(blind, torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[2].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = RelativeFaithfulness(num_steps=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # 1/8 over 3/4
        tensor(0.1667)
    """

    key = "faithfulness_relative"
    higher_is_better = True
    range = (-math.inf, math.inf)
    in_default_suite = True
    can_be_undefined = True

    def __init__(
        self,
        num_steps: Steps = "radau",
        ties: Ties = "random",
        seed: int = 0,
        tolerance: float | None = None,
        baseline: Baseline = 0.0,
        insertion_baseline: Baseline = "blur",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_steps: Steps = num_steps
        self.ties: Ties = ties
        self.seed = seed
        self.tolerance = tolerance
        self.baseline = checked_baseline(baseline)
        self.insertion_baseline = checked_baseline(insertion_baseline)
        self.insertion = MaskingCurve(
            "insertion", insertion_baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance
        )
        self.deletion = MaskingCurve("deletion", baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance)

    def score(self, case: Case) -> Tensor:
        """Return the difference of the areas over the clean probability, (N,); NaN where that is below 1e-3."""
        difference = self.insertion.area(case) - self.deletion.area(case)
        clean = case.classifier.select(case.lowered_logits, case.target, "probability")
        return torch.where(clean >= _LEAST_SCORE, difference / clean, torch.nan)
