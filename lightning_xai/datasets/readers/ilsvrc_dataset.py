"""The validation images of ILSVRC with their boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lightning_xai.datasets.pictures import pictures_below
from lightning_xai.datasets.readers.annotated_pictures import AnnotatedPictures, Described
from lightning_xai.datasets.readers.framing import Framing
from lightning_xai.datasets.readers.voc_xml import VocObject, read_voc_xml


class IlsvrcDataset(AnnotatedPictures):
    """Validation images of ILSVRC (ImageNet-1k) with the boxes of their class.

    Items are as `AnnotatedPictures` has them. Classes are numbered in the order of their synsets, as torchvision's and
    timm's networks do. The class of a picture is that of the folder it lies in, such as ``val/n01440764``, else that of
    the objects in its annotation. Box coordinates count from 0, ends included, as the readers of ILSVRC take them; what
    reaches beyond a picture is cut.

    Args:
        images: Folder of the pictures, in folders by class or not.
        boxes: Folder of the annotations, ``ILSVRC2012_val_00000001.xml`` and so on, at any depth; None for none.
        synsets: Text file whose lines begin with a synset, such as ``LOC_synset_mapping.txt``; the folders by class, or
            else the synsets of all annotations, if None: these have to hold all classes of the network.
        framing: How pictures are resized, cut and normalised.

    Attributes:
        classes: Synsets.

    Raises:
        ValueError: If there are no pictures, the class of one is not known, or an annotation cannot be read.
    """

    def __init__(
        self,
        images: str | Path,
        boxes: str | Path | None = None,
        synsets: str | Path | None = None,
        framing: Framing | None = None,
    ) -> None:
        super().__init__(framing)
        self.images = Path(images)
        self._paths = pictures_below(self.images)
        if not self._paths:
            raise ValueError(f"Expected `images` to hold pictures, but found none below {images}.")
        files = {} if boxes is None else {path.stem: path for path in Path(boxes).rglob("*.xml")}
        self._has_boxes = boxes is not None
        self._objects = {
            path.stem: read_voc_xml(files[path.stem], first_pixel=0) for path in self._paths if path.stem in files
        }
        self.most_boxes = max([1, *map(len, self._objects.values())])
        self.classes = self._synsets(synsets)
        self._labels = [self._label(path) for path in self._paths]

    def __len__(self) -> int:
        return len(self._paths)

    def describe(self, index: int) -> Described:
        """Return the class of a picture and the boxes of that class."""
        path, label = self._paths[index], self._labels[index]
        known = Described(path=path, id=path.stem, label=label)
        if not self._has_boxes:
            return known
        shown = [one.box for one in self._objects.get(path.stem, []) if one.name == self.classes[label]]
        boxes = torch.tensor(shown).reshape(-1, 4)
        return replace(known, boxes=boxes, box_labels=torch.full((len(shown),), label))

    def _synsets(self, file: str | Path | None) -> tuple[str, ...]:
        if file is not None:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
            return tuple(sorted({line.split()[0] for line in lines if line.strip()}))
        folders = {path.relative_to(self.images).parts[0] for path in self._paths if path.parent != self.images}
        named = folders or {one.name for objects in self._objects.values() for one in objects}
        return tuple(sorted(named))

    def _label(self, path: Path) -> int:
        folder = path.relative_to(self.images).parts[0] if path.parent != self.images else None
        objects: list[VocObject] = self._objects.get(path.stem, [])
        synset = folder if folder is not None else objects[0].name if objects else None
        if synset not in self.classes:
            raise ValueError(
                f"Expected the class of {path.name} to be known, by a folder of its synset or by an annotation in "
                f"`boxes`, and to be one of the {len(self.classes)} synsets, but it is {synset}."
            )
        return self.classes.index(synset)
