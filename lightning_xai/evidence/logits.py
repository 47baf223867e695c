"""The model's answer to the unchanged images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
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


@dataclass(frozen=True)
class BaselineLogits(Evidence):
    """Logits (N, K) of images that hold one value everywhere.

    Args:
        baseline: That value.
    """

    reads_heatmaps: ClassVar[bool] = False

    baseline: float = 0.0

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, K); one image is evaluated for all."""
        empty = torch.full_like(case.images[:1], self.baseline)
        return case.classifier.logits(empty).expand(len(case), -1)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return 1, which all images of a case share."""
        return 1
