"""What readers of annotated pictures share: an item is read, framed, and says what is known about it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xai._checks import check_choice
from lightning_xai.datasets.pictures import read_picture
from lightning_xai.datasets.readers.framing import Framing

LabelAs = Literal["every", "largest"]
"""Whether the label says yes or no of each class, or is the class of the largest object."""


@dataclass(frozen=True)
class Described:
    """What is known about a picture; boxes and masks in its own pixels.

    Attributes:
        path: Of the picture.
        id: By which a reader knows it.
        label: Class; or yes or no for each of K classes, float32 (K,); None if it is not known.
        boxes: float32 (M, 4): x0, y0, x1, y1, exclusive ends; None where nobody draws boxes.
        box_labels: Their classes, int64 (M,); None if boxes have none.
        mask: Returns where objects are, bool (H, W), or (K, H, W) for each class, given H and W; None if nobody knows.
        group: Patient, slide, lesion; None if it is not known.
    """

    path: Path
    id: str
    label: int | Tensor | None = None
    boxes: Tensor | None = None
    box_labels: Tensor | None = None
    mask: Callable[[tuple[int, int]], Tensor] | None = None
    group: str | None = None


class AnnotatedPictures(Dataset[dict[str, Any]]):
    """Pictures in files; a subclass says in `describe` what is known about each.

    Items are mappings that the default collate function makes batches of, and `ExplanationMonitor` and `Comparison`
    read: ``image``, float32 (3, S, S); ``id``; and where they are known ``label``, ``boxes``, float32 (M, 4) with rows
    of NaN up to the most that a picture has, ``box_labels``, int64 (M,) with -1, ``mask``, bool (S, S), or (K, S, S)
    for each class, and ``group``.

    Args:
        framing: How pictures are resized, cut and normalised.

    Attributes:
        classes: Names of the classes.
        most_boxes: The most boxes that a picture has, at least 1.
    """

    classes: tuple[str, ...] = ()
    most_boxes: int = 1

    def __init__(self, framing: Framing | None = None) -> None:
        self.framing = Framing() if framing is None else framing

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pictures."""

    @abstractmethod
    def describe(self, index: int) -> Described:
        """Return what is known about a picture, without reading it."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item; see the class."""
        known = self.describe(range(len(self))[index])
        pixels = read_picture(known.path)
        size = (pixels.shape[1], pixels.shape[2])
        item: dict[str, Any] = {"image": self.framing.image(pixels), "id": known.id}
        if known.label is not None:
            item["label"] = known.label
        if known.boxes is not None:
            item |= self._boxes(known.boxes, known.box_labels, size)
        if known.mask is not None:
            item["mask"] = self.framing.masks(known.mask(size))
        if known.group is not None:
            item["group"] = known.group
        return item

    @property
    def labels(self) -> list[Any]:
        """Labels of all pictures, without reading these: for splits."""
        return [self.describe(index).label for index in range(len(self))]

    @property
    def groups(self) -> list[str | None]:
        """Groups of all pictures, likewise."""
        return [self.describe(index).group for index in range(len(self))]

    def _boxes(self, boxes: Tensor, labels: Tensor | None, size: tuple[int, int]) -> dict[str, Tensor]:
        framed = torch.full((self.most_boxes, 4), torch.nan)
        framed[: len(boxes)] = self.framing.boxes(boxes.reshape(-1, 4), size)
        if labels is None:
            return {"boxes": framed}
        padded = torch.full((self.most_boxes,), -1)
        padded[: len(labels)] = labels
        return {"boxes": framed, "box_labels": torch.where(framed.isnan().any(1), -1, padded)}


def label_of(boxes: Tensor, box_labels: Tensor, num_classes: int, label_as: LabelAs) -> int | Tensor:
    """Return the label of a picture with boxes (M, 4) of classes (M,); -1 for the largest of none.

    Raises:
        ValueError: If ``label_as`` is neither of the two.
    """
    check_choice(label_as, ("every", "largest"), "label_as")
    if label_as == "every":
        label = torch.zeros(num_classes)
        label[box_labels] = 1.0
        return label
    if not len(boxes):
        return -1
    return int(box_labels[(boxes[:, 2:] - boxes[:, :2]).prod(1).argmax()])
