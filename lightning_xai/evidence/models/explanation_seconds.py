"""How long an explanation takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class ExplanationSeconds(Evidence[Tensor]):
    """Seconds per image, (N,): the batch is explained once to warm up, then ``num_repeats`` times by the clock.

    The clock stops when the device is done. Every image of a batch gets the same share of the fastest repeat: what
    else the machine does only adds time. Costs ``num_repeats + 1`` explanations per image.

    Args:
        num_repeats: Timed repeats.

    Raises:
        TypeError: If ``num_repeats`` is no whole number.
        ValueError: If it is below 1.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target", "explainer"})

    num_repeats: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.num_repeats, "num_repeats")

    def evaluations(self, explaining: int = 1) -> int:
        """Return the cost of ``num_repeats + 1`` heatmaps."""
        return (self.num_repeats + 1) * explaining

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N,) > 0."""
        self._explain(case)
        seconds = min(self._explain(case) for _ in range(self.num_repeats))
        return torch.full((len(case),), seconds / len(case), device=case.images.device)

    def _explain(self, case: Case) -> float:
        _synchronize(case.images.device)
        start = time.perf_counter()
        case.explainer(case.classifier, case.images, case.target)
        _synchronize(case.images.device)
        return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
