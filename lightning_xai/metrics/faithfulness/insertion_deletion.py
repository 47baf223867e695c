"""Insertion minus deletion: what ``faithfulness`` means in this package."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class InsertionDeletion(ExplanationMetric):
    """Does the heatmap rank what the model uses? Insertion minus deletion.

    `InsertionAUC` − `DeletionAUC`, in [-1, 1], higher is better; logged as ``faithfulness``. A random map is not at 0
    (insertion starts from a blurred image, deletion ends in nothing), which is why the monitor also logs
    ``faithfulness_gain``, the difference to a random map. Fake-CAM does not fool it: a constant map scores like a
    random one.

    Evaluations per image: 22 (``2 (num_steps + 1)`` for a number, at most 450 for ``"auto"``), both curves and the
    unchanged image shared.

    Source: Englebert et al., "Poly-CAM: High resolution class activation map for convolutional neural networks",
    2022, https://arxiv.org/abs/2204.13359.

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
        >>> metric = InsertionDeletion(num_steps=2)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # under 1/2, 3/4, 3/4 minus under 3/4, 1/2, 1/2
        tensor(0.1250)
    """

    key = "faithfulness"
    higher_is_better = True
    range = (-1.0, 1.0)
    in_default_suite = True
    logs_gain = True

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
        """Return the difference of the areas, (N,)."""
        return self.insertion.area(case) - self.deletion.area(case)
