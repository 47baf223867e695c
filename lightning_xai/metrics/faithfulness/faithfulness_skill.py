"""Faithfulness as a share of what a reference reaches."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_xai._baseline import Baseline, checked_baseline
from lightning_xai.evidence.case import Case
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.heat import Ties
from lightning_xai.evidence.masking.masking_curve import MaskingCurve, Steps
from lightning_xai.evidence.masking.reference_area import RandomControl, ReferenceArea
from lightning_xai.metrics.metric import MetricOptions
from lightning_xai.metrics.skill import Skill


class FaithfulnessSkill(Skill):
    """Is it the explanation, or is the model just surer? Faithfulness between a random map and a reference.

    ``Σ (F − R) / Σ (O − R)`` over the images: F is `InsertionDeletion` of the heatmap, R that of the random control
    (7×7), O that of an occlusion reference, all at the same points of their curves. The reference hides each of 7×7
    cells alone by what insertion starts from; its heat is the drop of the class's log-odds (of its own logit in a
    multi-label or binary model), bilinear between the cells. 0 is a random map and 1 the reference; higher is better.

    Not clipped: 1 is no perfection. Maps that are finer than 7×7 cells can exceed it, and on data whose evidence is
    large and even so does any good map: the blur of such a shadow is that shadow again, hiding a cell by it changes
    nothing, and O is low (1.7 on drawn X-rays, docs/explanation_or_confidence.md; a constant ``insertion_baseline``
    hides the shadow, and is another number). It moves far less with the model's confidence than F, because F, R and O
    move alike; but it is a reading, not a target: an untrained network or one that takes a shortcut may score high, so
    never choose an epoch by it alone. NaN unless the mean of O − R is at least .02 and twice its standard error: where
    the reference finds nothing, nothing is measured. The value of one image is F − R. Fake-CAM does not fool it: a
    constant map scores like a random one of single pixels.

    Evaluations per image: 49 cells and six curves, of which the monitor shares the two of the control with the gain
    and the two of the heatmap with faithfulness; those of control and reference once for all explainers.

    Source: this package, after Edin et al., "Normalized AOPC: Fixing Misleading Faithfulness Metrics for Feature
    Attribution Explainability", ACL 2025, https://arxiv.org/abs/2408.08137, who scale each input's value between its
    own best and worst order; here the order of a reference and of chance, and one ratio for all images.

    Args:
        num_steps: Where the curves are evaluated; see `MaskingCurve`.
        ties: How equally hot pixels are ordered: ``"random"``, ``"first"`` or ``"last"``.
        seed: Of random ties; that of the control is the case's ``control_seed``.
        tolerance: Greatest error bound of each area with ``num_steps="auto"``, 0.01 if None; see `MaskingCurve`.
        baseline: What deleted pixels become; see `baseline_images`.
        insertion_baseline: What insertion starts from, and what hides a cell of the reference.
        **options: Of `torchmetrics.Metric`.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> import torch
        >>> metric = FaithfulnessSkill()
        >>> rows = torch.tensor([[0.5, 0.1, 0.6], [0.3, 0.1, 0.4]])  # heatmap, control, reference of two images
        >>> metric.aggregate(rows)  # .4 + .2 of .5 + .3
        tensor(0.7500)
        >>> metric.aggregate(torch.tensor([[0.5, 0.1, 0.2], [0.3, 0.1, 0.0]]))  # the reference beats nothing
        tensor(nan)
    """

    in_default_suite = True

    def __init__(
        self,
        num_steps: Steps = MaskingCurve.num_steps,
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
        reference = self.reference(insertion_baseline)
        self.occlusion = reference.occlusion
        self.control_areas = self._areas(RandomControl())
        self.reference_areas = self._areas(reference)

    def _areas(self, heatmaps: Evidence[Tensor]) -> tuple[ReferenceArea, ReferenceArea]:
        return ReferenceArea(self.insertion, heatmaps), ReferenceArea(self.deletion, heatmaps)

    def score(self, case: Case) -> Tensor:
        """Return insertion minus deletion of heatmap, control and reference, (N, 3)."""
        own = self.insertion.area(case) - self.deletion.area(case)
        others = [
            case[insertion] - case[deletion] for insertion, deletion in (self.control_areas, self.reference_areas)
        ]
        return torch.stack([own, *others], 1)
