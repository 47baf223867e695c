"""Images of a folder, one subfolder per class, with masks or boxes of the same names in a folder beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai.datasets.pictures import ENDINGS, pictures_below, read_picture
from lightning_xai.datasets.readers.annotated_pictures import AnnotatedPictures, Described
from lightning_xai.datasets.readers.framing import IMAGENET_MEAN, IMAGENET_STD, Framing
from lightning_xai.datasets.readers.voc_xml import VocObject, read_voc_xml


class ImageFolder(AnnotatedPictures):
    r"""Images below a folder as networks want them: the short side resized, the centre cut out, normalised.

    ``root/<class>/<name>.jpg``; classes are numbered in the order of their names. Images that lie in ``root`` itself
    have no class: explain ``target="predicted"``. A mask of the annotated object is white (> 127) on black, with the
    same path and name below ``masks``, any ending; an image without one has none marked. Boxes are XML as VOC has it,
    likewise; objects whose name is no class are of the image's own.

    Args:
        root: The folder.
        masks: Folder of the masks; ``<root>_masks`` if that exists, None for none otherwise.
        image_size: Side of the images that the network gets; None keeps them as large as they are.
        mean: Of each channel, subtracted from values in [0, 1].
        std: Of each channel, by which they are divided.
        boxes: Folder of the boxes; ``<root>_boxes`` if that exists, None for none otherwise.
        groups: Patient, slide or lesion of each image: a pattern with one group in brackets, searched in the image's
            path below ``root``, such as ``r"patient(\d+)"``, or a mapping of these paths, with or without the ending.

    Attributes:
        classes: Names of the classes; empty if images have none.

    Raises:
        ValueError: If the folder holds no image, a mask has another size than its image, or an image has no group.
    """

    def __init__(
        self,
        root: str | Path,
        masks: str | Path | None = None,
        image_size: int | None = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        boxes: str | Path | None = None,
        groups: str | Mapping[str, str] | None = None,
    ) -> None:
        if image_size is not None:
            check_count(image_size, "image_size")
        super().__init__(Framing(image_size, mean=mean, std=std))
        self.root = Path(root)
        self.masks, self.boxes = self._beside(masks, "masks"), self._beside(boxes, "boxes")
        self.image_size, self.mean, self.std = image_size, tuple(mean), tuple(std)
        self._paths = pictures_below(self.root)
        if not self._paths:
            raise ValueError(f"Expected `root` to hold images ({', '.join(ENDINGS)}), but found none below {root}.")
        folders = sorted({path.relative_to(self.root).parts[0] for path in self._paths if path.parent != self.root})
        self.classes = tuple(folders)
        self._masks = {} if self.masks is None else _by_place(self.masks, pictures_below(self.masks))
        self._objects = {} if self.boxes is None else _objects_by_place(self.boxes)
        self.most_boxes = max([1, *map(len, self._objects.values())])
        self._groups = None if groups is None else [self._group(groups, path) for path in self._paths]

    def __len__(self) -> int:
        return len(self._paths)

    def describe(self, index: int) -> Described:
        """Return what the folders say about an image."""
        path = self._paths[index]
        place = path.relative_to(self.root)
        label = None
        if self.classes:
            label = self.classes.index(place.parts[0]) if len(place.parts) > 1 else -1
        objects = self._objects.get(place.with_suffix(""), [])
        own = -1 if label is None else label
        named = [self.classes.index(one.name) if one.name in self.classes else own for one in objects]
        return Described(
            path=path,
            id=place.as_posix(),
            label=label,
            boxes=None if self.boxes is None else torch.tensor([one.box for one in objects]).reshape(-1, 4),
            box_labels=torch.tensor(named, dtype=torch.int64) if self.classes else None,
            mask=None if self.masks is None else lambda size: self._mask(place, size),
            group=None if self._groups is None else self._groups[index],
        )

    def _beside(self, given: str | Path | None, what: str) -> Path | None:
        beside = self.root.with_name(f"{self.root.name}_{what}")
        return Path(given) if given is not None else beside if beside.is_dir() else None

    def _mask(self, place: Path, size: tuple[int, int]) -> Tensor:
        """Return where the object is, bool (H, W)."""
        file = self._masks.get(place.with_suffix(""))
        if file is None:
            return torch.zeros(size, dtype=torch.bool)
        mask = read_picture(file, "L")[0] > 127
        if mask.shape != size:
            raise ValueError(
                f"Expected the mask {file} to have the size of its image, {size}, but got {tuple(mask.shape)}."
            )
        return mask

    def _group(self, groups: str | Mapping[str, str], path: Path) -> str:
        place = path.relative_to(self.root)
        if isinstance(groups, str):
            found = re.search(groups, place.as_posix())
            if found is not None and found.groups():
                return str(found[1])
        else:
            for name in (place.as_posix(), place.with_suffix("").as_posix(), place.name, place.stem):
                if name in groups:
                    return str(groups[name])
        kind = f"the pattern {groups!r} with a group in brackets" if isinstance(groups, str) else "a mapping"
        raise ValueError(
            f"Expected `groups`, {kind}, to tell the group of every image, but not that of {place.as_posix()}."
        )


def _by_place(folder: Path, paths: Sequence[Path]) -> dict[Path, Path]:
    return {path.relative_to(folder).with_suffix(""): path for path in paths}


def _objects_by_place(folder: Path) -> dict[Path, list[VocObject]]:
    files = _by_place(folder, sorted(folder.rglob("*.xml")))
    return {place: read_voc_xml(path) for place, path in files.items()}
