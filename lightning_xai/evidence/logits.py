"""The model's answer to the unchanged images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Logits(Evidence):
    """Logits (N, K) of the unchanged images, shared by everything that reads them."""

    reads_heatmaps: ClassVar[bool] = False

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, K)."""
        logits = case.classifier.logits(case.images)
        if case.has_target:
            case.classifier.check_classes(logits, case.target)
        return logits

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 1."""
        return 1
