"""Curves of the class score while more and more of an image is changed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


class Masking(Evidence[Tensor]):
    """Evidence whose `collect` gives a probability per image and point, (N, P), and that can show what was changed.

    Attributes:
        has_unchanged_image: Whether the unchanged image is one of the points.
    """

    has_unchanged_image: ClassVar[bool] = True

    @property
    @abstractmethod
    def description(self) -> str:
        """What happens along the curve, in words, such as ``"pixels removed"``."""

    @abstractmethod
    def share_changed(self, case: Case) -> Tensor:
        """Return the share of an image that is changed at each point, float32 (N, P); NaN after the end of a row."""

    @abstractmethod
    def changed_images(self, case: Case, image_index: int, points: Sequence[int]) -> Tensor:
        """Return what the model sees of one image at some points of its curve, (n, C, H, W)."""
