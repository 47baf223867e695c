"""What costs model evaluations: declared by metrics, collected once, shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Evidence(ABC):
    """Settings of one kind of evidence; equal settings are collected once per `Case`.

    A subclass is a frozen dataclass with hashable fields. `collect` returns numbers or maps per image, never images,
    activations or models.

    Attributes:
        reads_heatmaps: False if the evidence is about the images alone, so that cases with other heatmaps of the same
            images share it.
    """

    reads_heatmaps: ClassVar[bool] = True

    @property
    def reads(self) -> tuple[Evidence, ...]:
        """Other evidence that `collect` reads once each, so that it is freed after its last reader; none by default."""
        return ()

    @abstractmethod
    def collect(self, case: Case) -> Any:
        """Return what is known about ``case``; first axis N."""

    @abstractmethod
    def evaluations(self, explaining: int = 1) -> int:
        """Return the model evaluations per image.

        Args:
            explaining: Evaluations that one heatmap costs.
        """
