"""PASCAL VOC, and what comes in its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lightning_xai._checks import check_choice
from lightning_xai.datasets.readers.annotated_pictures import AnnotatedPictures, Described, LabelAs, label_of
from lightning_xai.datasets.readers.framing import Framing
from lightning_xai.datasets.readers.voc_xml import VocObject, read_voc_xml

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class VocDataset(AnnotatedPictures):
    """Pictures with boxes in the layout of PASCAL VOC: ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``.

    Items are as `AnnotatedPictures` has them: several classes to a picture, or that of the largest object.

    Args:
        root: The folder, such as ``VOCdevkit/VOC2007``.
        split: Name of a list in ``ImageSets/Main``, such as ``"val"``; of a class's list (``"cat_val"``), pictures that
            show it.
        classes: Names of classes, in order; others are no objects here.
        label_as: See `LabelAs`.
        difficult: Whether objects that are marked as difficult count; VOC's own scores leave them out.
        framing: How pictures are resized, cut and normalised.

    Raises:
        FileNotFoundError: If the list or an annotation is not there.
        ValueError: If an annotation cannot be read, or an argument is none of the choices.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        classes: Sequence[str] = VOC_CLASSES,
        label_as: LabelAs = "every",
        difficult: bool = False,
        framing: Framing | None = None,
    ) -> None:
        super().__init__(framing)
        check_choice(label_as, ("every", "largest"), "label_as")
        self.root, self.split, self.difficult = Path(root), split, difficult
        self.label_as: LabelAs = label_as
        self.classes = tuple(classes)
        self._names = _names(self.root / "ImageSets" / "Main" / f"{split}.txt")
        self._objects = [self._known(read_voc_xml(self._annotation(name))) for name in self._names]
        self.most_boxes = max([1, *map(len, self._objects)])

    def __len__(self) -> int:
        return len(self._names)

    def describe(self, index: int) -> Described:
        """Return the objects of a picture."""
        name, objects = self._names[index], self._objects[index]
        boxes = torch.tensor([one.box for one in objects]).reshape(-1, 4)
        classes = torch.tensor([self.classes.index(one.name) for one in objects], dtype=torch.int64)
        return Described(
            path=self.root / "JPEGImages" / f"{name}.jpg",
            id=name,
            label=label_of(boxes, classes, len(self.classes), self.label_as),
            boxes=boxes,
            box_labels=classes,
        )

    def _annotation(self, name: str) -> Path:
        path = self.root / "Annotations" / f"{name}.xml"
        if not path.is_file():
            raise FileNotFoundError(
                f"Expected an annotation of each picture of {self.split!r}, but there is no {path}."
            )
        return path

    def _known(self, objects: list[VocObject]) -> list[VocObject]:
        return [one for one in objects if one.name in self.classes and (self.difficult or not one.is_difficult)]


def _names(path: Path) -> list[str]:
    if not path.is_file():
        listed = ", ".join(sorted(one.stem for one in path.parent.glob("*.txt"))) or "none"
        raise FileNotFoundError(
            f"Expected `split` to be a list in {path.parent}, but there is no {path.name}. There are: {listed}."
        )
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [words[0] for words in lines if words[1:2] != ["-1"]]
