"""What costs model evaluations: declared by metrics, collected once, shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Evidence(ABC, Generic[Result]):
    """Settings of one kind of evidence; equal settings are collected once per `Case`.

    A subclass is a frozen dataclass with hashable fields, and ``Evidence[What]`` for what `collect` returns: numbers or
    maps per image, never images, activations or models.

    """

    @property
    def inputs(self) -> frozenset[str]:
        """Fields of a case that `collect` reads; a class attribute where no setting decides.

        What reads nothing but model and images is shared by cases of the same images with other heatmaps or targets.
        """
        return frozenset({"model", "images", "heatmaps", "target"})

    @property
    def reads(self) -> tuple[Evidence[Any], ...]:
        """Other evidence that `collect` reads once each, so that it is freed after its last reader; none by default."""
        return ()

    @abstractmethod
    def collect(self, case: Case) -> Result:
        """Return what is known about ``case``; first axis N."""

    @abstractmethod
    def evaluations(self, explaining: int = 1) -> int:
        """Return the model evaluations per image.

        Args:
            explaining: Evaluations that one heatmap costs.
        """


def is_about_images_alone(evidence: Evidence[Any]) -> bool:
    """Return whether ``evidence`` is the same whatever heatmaps and target the images come with."""
    return evidence.inputs <= {"model", "images"}
