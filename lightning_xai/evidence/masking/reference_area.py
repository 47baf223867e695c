"""What heatmaps of no explainer score on the same images: those that an explanation is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_finite
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.masking.masking_curve import MaskingCurve
from lightning_xai.evidence.removal.occlusion_map import OcclusionMap
from lightning_xai.explainers.controls.random_heatmap import RandomHeatmap

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

_LARGEST = 1e30  # interpolating between two of them does not overflow


@dataclass(frozen=True)
class RandomControl(Evidence[Tensor]):
    """Heatmaps (N, H, W) of `RandomHeatmap`, which every gain and skill is measured from; no evaluation."""

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target"})

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 0."""
        return 0

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, H, W), drawn with the case's ``control_seed``."""
        return RandomHeatmap(seed=case.control_seed)(case.classifier, case.images, case.target)


@dataclass(frozen=True)
class OcclusionReference(Evidence[Tensor]):
    """Heatmaps (N, H, W) that are hot where hiding a cell lowers the class's log-odds, bilinear between the cells.

    What an explanation of a model that is only asked, not opened, can reach with 49 questions; it is no optimum. The
    log-odds order the cells where the probability rounds to 1; of a multi-label or binary model it is the class's own
    logit. Costs one evaluation per cell and the unchanged image.

    Args:
        occlusion: Grid and baseline.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target"})

    occlusion: OcclusionMap = OcclusionMap((7, 7), patch=None, baseline="blur")  # noqa: RUF009 - frozen

    def evaluations(self, explaining: int = 1) -> int:
        """Return those of the occlusion map."""
        return self.occlusion.evaluations(explaining)

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, H, W)."""
        drops = self.occlusion.log_odds_drops(case)
        check_finite(drops.nan_to_num(torch.nan, 0.0, 0.0), "log-odds of the images with a cell hidden")
        size = (case.images.shape[2], case.images.shape[3])
        finite = drops.clamp(-_LARGEST, _LARGEST)[:, None]
        return F.interpolate(finite, size=size, mode="bilinear", align_corners=False)[:, 0]


@dataclass(frozen=True)
class ReferenceArea(Evidence[Tensor]):
    """Area under a masking curve (N,) of the same images and target with other heatmaps than the explainer's.

    Costs what the curve costs, once for all explainers of a case.

    Args:
        curve: Its settings.
        heatmaps: `RandomControl` or `OcclusionReference`.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target"})

    curve: MaskingCurve = MaskingCurve()  # noqa: RUF009 - frozen
    heatmaps: Evidence[Tensor] = RandomControl()

    def evaluations(self, explaining: int = 1) -> int:
        """Return those of the curve."""
        return self.curve.evaluations(explaining)

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N,)."""
        return self.curve.area(case.seen_with(self.heatmaps))
