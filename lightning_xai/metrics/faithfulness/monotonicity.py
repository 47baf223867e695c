"""Monotonicity."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.metrics.correlation import spearman
from lightning_xai.metrics.metric import ExplanationMetric, MetricOptions


class Monotonicity(ExplanationMetric):
    """Does the class score rise whenever something more relevant is added?

    Sets of pixels are added to the baseline in *increasing* relevance; the share of steps in which the probability of
    the target class does not fall, in [0, 1], higher is better. ``strict=True`` is the paper's: 1 if no step falls.
    ``correlation=True`` is Spearman's correlation of the score with the step, in [-1, 1], undefined where the score is
    constant. Any map rises as the image completes, Fake-CAM too: read it against a random one.

    Evaluations per image: ``num_sets + 1``, the unchanged image shared.

    Source: Arya et al., "One Explanation Does Not Fit All: A Toolkit and Taxonomy of AI Explainability Techniques",
    2019, https://arxiv.org/abs/1909.03012; ``correlation`` after Zhang et al., "Saliency Maps Give a False Sense of
    Explanability to Image Classifiers", 2024, section 4.1.

    Args:
        num_sets: Sets of pixels.
        baseline: What the image starts from; see `baseline_images`.
        strict: Whether an image counts 1 only if no step falls, else 0.
        correlation: Whether to return Spearman's correlation of the score with the step instead.
        seed: Of random ties.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 0.5]]).log()  # odds of 3 to 1, of 1 to 2
        >>> images, heatmaps = torch.tensor([[[[1.0, 1.0]]]]), torch.tensor([[[2.0, 1.0]]])
        >>> metric = Monotonicity(num_sets=2, baseline=0.0)
        >>> metric.update(model=net, images=images, heatmaps=heatmaps, target=1)
        >>> metric.compute()  # 1/2, then 1/3, then 3/5
        tensor(0.5000)
    """

    higher_is_better = True
    range = (0.0, 1.0)
    can_be_undefined = True
    logs_gain = True

    def __init__(
        self,
        num_sets: int = 32,
        baseline: Baseline = "minimum",
        strict: bool = False,
        correlation: bool = False,
        seed: int = 0,
        ties: Ties = "random",
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.num_sets = num_sets
        self.baseline = checked_baseline(baseline)
        self.strict = strict
        self.correlation = correlation
        self.seed = seed
        self.ties: Ties = ties
        self.curve = MaskingCurve("insertion", baseline, num_sets, "lerf", ties, seed=seed)
        if correlation:
            self.range = (-1.0, 1.0)  # type: ignore[misc]

    def score(self, case: Case) -> Tensor:
        """Return the share of steps that do not fall, (N,)."""
        curve = case[self.curve]
        if self.correlation:
            return spearman(curve, torch.arange(curve.shape[1], device=curve.device).float().expand_as(curve))
        rises = curve.diff(dim=1) >= 0
        return rises.all(1).float() if self.strict else rises.float().mean(1)
