"""What costs model evaluations: declared by metrics, collected once, kept as long as somebody will read it, shared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

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
        numbers_version: Raised when what is collected for the same settings changes, so that stored values of the
            metrics that read it are computed anew.
    """

    numbers_version: ClassVar[int] = 1

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


Value = TypeVar("Value")


class Memo:
    """What each evidence said about one case: collected at its first reading, dropped after the last one announced.

    A failed collection is remembered too, and raised again. What nobody announced is kept.

    Attributes:
        frees: Whether anything is dropped; all is kept if not.
    """

    def __init__(self) -> None:
        self.frees = True
        self._results: dict[Evidence[Any], Any] = {}
        self._readings_left: dict[Evidence[Any], int] = {}

    def announce(self, evidence: Evidence[Any]) -> bool:
        """Say that ``evidence`` will be read once more; return whether it will be collected for that."""
        if not self.frees:
            return False
        is_new = evidence not in self._readings_left and evidence not in self._results
        self._readings_left[evidence] = self._readings_left.get(evidence, 0) + 1
        return is_new

    def known(self, evidence: Evidence[Value]) -> Value | None:
        """Return what ``evidence`` said, if it did."""
        result: Value | None = self._results.get(evidence)
        return None if isinstance(result, Exception) else result

    def keep(self, evidence: Evidence[Value], result: Value) -> None:
        """Take ``result`` for what ``evidence`` says."""
        self._results[evidence] = result

    def read(self, evidence: Evidence[Any], collect: Callable[[Evidence[Any]], Any]) -> Any:
        """Return what ``evidence`` says; ``collect`` returns it, or the exception that prevented it."""
        if evidence not in self._results:
            self._results[evidence] = collect(evidence)
        result = self._results[evidence]
        if evidence in self._readings_left:
            self._readings_left[evidence] -= 1
            if self._readings_left[evidence] <= 0:
                del self._results[evidence], self._readings_left[evidence]
        if isinstance(result, Exception):
            raise result
        return result
