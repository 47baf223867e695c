"""Insertion as a share of what a reference reaches."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps
from lightning_xai.evidence.masking.reference_area import RandomControl, ReferenceArea
from lightning_xai.metrics.metric import MetricOptions
from lightning_xai.metrics.skill import Skill


class InsertionSkill(Skill):
    """How fast does the class come back, between a random map and a reference?

    `FaithfulnessSkill` of the insertion areas alone: ``Σ (I − R) / Σ (O − R)`` over the images, where I is
    `InsertionAUC` of the heatmap, R that of the random control and O that of the occlusion reference. 0 is a random map
    and 1 the reference, not clipped; higher is better; undefined as that is. Images between a blurred and a whole one
    are more like those that the model was trained on than images with holes, so it separates maps more sharply; heat
    that is scattered over single pixels scores low. The value of one image is I − R. Fake-CAM does not fool it: a
    constant map scores like a random one of single pixels.

    Evaluations per image: 49 cells and three curves, all shared with `FaithfulnessSkill`; see there.

    Source: this package; see `FaithfulnessSkill`.

    Args:
        num_steps: Where the curves are evaluated; see `MaskingCurve`.
        baseline: What insertion starts from, and what hides a cell of the reference; see `baseline_images`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties; that of the control is the case's ``control_seed``.
        tolerance: Greatest error bound of each area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[0.5, 0.1, 0.6], [0.3, 0.1, 0.4]])  # heatmap, control, reference of two images
        >>> InsertionSkill().aggregate(rows)  # .4 + .2 of .5 + .3
        tensor(0.7500)
    """

    in_default_suite = True

    def __init__(
        self,
        num_steps: Steps = MaskingCurve.num_steps,
        baseline: Baseline = "blur",
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
        self.curve = MaskingCurve("insertion", baseline, num_steps, ties=ties, seed=seed, tolerance=tolerance)
        reference = self.reference(baseline)
        self.occlusion = reference.occlusion
        self.control_area = ReferenceArea(self.curve, RandomControl())
        self.reference_area = ReferenceArea(self.curve, reference)

    def score(self, case: Case) -> Tensor:
        """Return the insertion areas of heatmap, control and reference, (N, 3)."""
        return torch.stack([self.curve.area(case), case[self.control_area], case[self.reference_area]], 1)
