"""Pixel flipping."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class PixelFlipping(ExplanationMetric):
    """How fast does the class score fall when the most relevant pixels are darkened first?

    Area under the probability of the target class while pixels, hottest first, are set to the image's minimum, over
    the share of the pixels, [0, 1]. In [0, 1], lower is better. With ``baseline=0.0`` it is `DeletionAUC` and shares
    its curve. It moves with the model's confidence for any heatmap: read it against a random
    one. Fake-CAM does not fool it: a constant map scores like a random one.

    Evaluations per image: 11 (``num_steps + 1`` for a number, at most 225 for ``"auto"``), the unchanged image shared.

    Source: Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation", PLoS ONE 2015, https://doi.org/10.1371/journal.pone.0130140. The area is normalised to [0, 1] and
    holds the unchanged image, unlike Quantus' sum over steps.

    Args:
        num_steps: ``"radau"`` for the ten points of a quadrature, a number of equal parts, or ``"auto"``; see
            `MaskingCurve`.
        baseline: What flipped pixels become; see `baseline_images`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties.
        tolerance: Greatest error bound of the area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 1.0]]).log()  # odds of 3 to 1 where the first pixel is 1
        >>> images, heatmaps = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = PixelFlipping(num_steps=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # under 3/4, 1/2, 1/2
        tensor(0.5625)
    """

    higher_is_better = False
    range = (0.0, 1.0)
    logs_gain = True

    def __init__(
        self,
        num_steps: Steps = "radau",
        baseline: Baseline = "minimum",
        ties: Ties = "random",
        seed: int = 0,
        tolerance: float | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_steps: Steps = num_steps
        self.baseline = checked_baseline(baseline)
        self.ties: Ties = ties
        self.seed = seed
        self.tolerance = tolerance
        self.curve = MaskingCurve("deletion", baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance)

    def score(self, case: Case) -> Tensor:
        """Return the area under the flipping curve, (N,)."""
        return self.curve.area(case)
