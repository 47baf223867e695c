"""What costs model evaluations: declared by metrics, collected once, shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Result = TypeVar("Result", covariant=True)

_ABOUT_IMAGES = frozenset({"model", "images", "regions"})


@dataclass(frozen=True)
class Evidence(ABC, Generic[Result]):
    """Settings of one kind of evidence; equal settings are collected once per `Case`.

    A subclass is a frozen dataclass with hashable fields, and ``Evidence[What]`` for what `collect` returns: numbers or
    maps per image, never images, activations or models.

    Attributes:
        inputs: Fields of a case that `collect` reads. What reads nothing but model, images and their regions is shared
            by cases of the same images with other heatmaps or targets.
        reads: Other evidence that `collect` reads once each, so that it is freed after its last reader.
    """

    if TYPE_CHECKING:

        @property
        def inputs(self) -> frozenset[str]: ...  # noqa: D102 - see the class

        @property
        def reads(self) -> tuple[Evidence[Any], ...]: ...  # noqa: D102 - see the class

    else:  # a subclass overrides them by a class attribute, or by a property where settings decide
        inputs = frozenset({"model", "images", "heatmaps", "target"})
        reads = ()

    @property
    def is_about_images_alone(self) -> bool:
        """Whether it is the same whatever heatmaps and target the images come with."""
        return self.inputs <= _ABOUT_IMAGES

    @abstractmethod
    def collect(self, case: Case) -> Result:
        """Return what is known about ``case``; first axis N."""

    @abstractmethod
    def evaluations(self, explaining: int = 1) -> int:
        """Return the model evaluations per image.

        Args:
            explaining: Evaluations that one heatmap costs.
        """
