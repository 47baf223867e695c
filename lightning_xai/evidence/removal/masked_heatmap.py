"""What the explainer says about what it said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.heat import is_degenerate
from lightning_xai.evidence.removal.masked_image import MaskedImage

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class MaskedHeatmap(Evidence[Tensor]):
    """Heatmaps (N, H, W) of each image times its min-max normalised heatmap, for the same class.

    NaN where the first heatmap is degenerate.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "heatmaps", "target", "explainer"})

    def evaluations(self, explaining: int = 1) -> int:
        """Return the cost of one heatmap."""
        return explaining

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, H, W)."""
        masked = MaskedImage().apply(case.images, case.heatmaps)
        heatmaps = case.explainer(case.classifier, masked, case.target)
        return torch.where(is_degenerate(case.heatmaps)[:, None, None], torch.nan, heatmaps)
