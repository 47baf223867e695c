"""COCO, and what comes in its JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_choice, nearest
from lightning_xai.datasets.readers.annotated_pictures import AnnotatedPictures, Described, LabelAs, label_of
from lightning_xai.datasets.readers.coco_masks import mask_of_segmentation
from lightning_xai.datasets.readers.framing import Framing


class CocoDataset(AnnotatedPictures):
    """Pictures with boxes and masks in COCO's JSON, of all categories or of some.

    Items are as `AnnotatedPictures` has them. With ``label_as="every"`` ``mask`` has a plane per class, where there are
    several; with ``"largest"`` it shows all objects of the label's class. Crowds count as objects. pycocotools are not
    needed: of polygons, pixels count whose centre lies inside.

    Args:
        images: Folder of the pictures.
        annotations: JSON file, such as ``annotations/instances_val2017.json``.
        categories: Names of categories, in the order of the classes; pictures that show none of them are left out. All
            categories, in the order of their numbers, and all pictures if None.
        label_as: See `LabelAs`.
        class_index: Class of the network for each category, such as ``{"zebra": 340}``, with ``"largest"`` only; the
            place in ``categories`` if None.
        framing: How pictures are resized, cut and normalised.

    Raises:
        ValueError: If the file holds no COCO annotations, a category is unknown, or ``class_index`` does not fit.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        categories: Sequence[str] | None = None,
        label_as: LabelAs = "every",
        class_index: Mapping[str, int] | None = None,
        framing: Framing | None = None,
    ) -> None:
        super().__init__(framing)
        check_choice(label_as, ("every", "largest"), "label_as")
        self.images, self.annotations = Path(images), Path(annotations)
        self.label_as: LabelAs = label_as
        content = json.loads(self.annotations.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
            raise ValueError(f"Expected {annotations} to hold images, annotations and categories, but it does not.")
        numbers = _chosen({one["name"]: one["id"] for one in content["categories"]}, categories)
        self.classes = tuple(numbers)
        self.class_index = self._checked_index(class_index)
        self._class_of = {number: place for place, number in enumerate(numbers.values())}
        self._objects: dict[int, list[Any]] = defaultdict(list)
        for one in content["annotations"]:
            if one["category_id"] in self._class_of:
                self._objects[one["image_id"]].append(one)
        pictures = sorted(content["images"], key=lambda one: one["id"])
        self._pictures = [one for one in pictures if categories is None or one["id"] in self._objects]
        self.most_boxes = max([1, *map(len, self._objects.values())])

    def __len__(self) -> int:
        return len(self._pictures)

    def describe(self, index: int) -> Described:
        """Return the objects of a picture."""
        picture = self._pictures[index]
        objects = self._objects.get(picture["id"], [])
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        places = torch.tensor([self._class_of[one["category_id"]] for one in objects], dtype=torch.int64)
        label = label_of(boxes, places, len(self.classes), self.label_as)
        shown = None if isinstance(label, Tensor) else label
        return Described(
            path=self.images / picture["file_name"],
            id=str(picture["file_name"]),
            label=label if shown is None or shown < 0 else self._index_of(shown),
            boxes=boxes,
            box_labels=places.apply_(self._index_of) if len(places) else places,
            mask=lambda size: self._mask(objects, shown, size),
        )

    def _mask(self, objects: list[Any], shown: int | None, size: tuple[int, int]) -> Tensor:
        """Return where the objects of a class are, bool (H, W), or those of each class, bool (K, H, W)."""
        planes = torch.zeros(len(self.classes), *size, dtype=torch.bool)
        for one in objects:
            place = self._class_of[one["category_id"]]
            if shown in {None, place}:
                planes[place] |= mask_of_segmentation(one["segmentation"], size)
        return planes if shown is None and len(planes) > 1 else planes.any(0)

    def _index_of(self, place: int) -> int:
        return place if self.class_index is None else self.class_index[self.classes[place]]

    def _checked_index(self, class_index: Mapping[str, int] | None) -> dict[str, int] | None:
        if class_index is None:
            return None
        if self.label_as != "largest":
            raise ValueError("Expected `class_index` with label_as='largest' only, but got label_as='every'.")
        missing = [name for name in self.classes if name not in class_index]
        if missing:
            raise ValueError(f"Expected `class_index` to name a class for every category, but {missing[0]!r} has none.")
        return dict(class_index)


def _chosen(known: dict[str, int], categories: Sequence[str] | None) -> dict[str, int]:
    if categories is None:
        return dict(sorted(known.items(), key=lambda one: one[1]))
    for name in categories:
        if name not in known:
            hint = nearest(name, list(known))
            raise ValueError(f"Expected `categories` to be names of categories, but there is no {name!r}.{hint}")
    return {name: known[name] for name in categories}
