"""The four medical data sets of the thesis, split as it splits them (Table 2)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_choice, check_count
from lightning_xai.datasets.grouped_split import grouped_split
from lightning_xai.datasets.pictures import pictures_below, read_picture

Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class MedicalPicture:
    """A picture of a data set.

    Attributes:
        path: Its file.
        label: Name of its class.
        group: Lesion or slide, which shall not be in two parts; the file itself where pictures are independent.
    """

    path: Path
    label: str
    group: str


class MedicalImages(Dataset[dict[str, Any]]):
    """CRC, Covid-19 Radiography, HAM10000 or BreakHis as the thesis uses them: resized to a square, in [-1, 1].

    The folder holds what the archives hold, in any depth:

    - ``"crc"``: ``NCT-CRC-HE-100K/<class>`` (80 % train, 20 % validation) and ``CRC-VAL-HE-7K/<class>`` (test).
    - ``"covid19"``: ``COVID``, ``Lung_Opacity``, ``Normal`` and ``Viral Pneumonia``, with ``images``; 80, 10, 10 %.
    - ``"ham10000"``: ``HAM10000_metadata.csv`` (``lesion_id``, ``image_id``, ``dx``) and the pictures; 60, 20, 20 %, no
      lesion in two parts.
    - ``"breakhis"``: below ``benign`` and ``malignant`` the pictures with their own names, such as
      ``SOB_B_A-14-22549AB-40-001.png``; benign 58, 20, 22 %, malignant 63, 18, 19 %, no slide in two parts.

    Parts are stratified by class, see `grouped_split`. Items have ``image``, ``label``, ``id``.

    Args:
        name: Which of the four.
        root: The folder.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        image_size: Side of the square.
        seed: Of the split.

    Attributes:
        classes: Their names, sorted.
        labels: Of all pictures of the part, int64 (N,).

    Raises:
        ValueError: If a name is unknown, or the folder has no picture of the part.
        FileNotFoundError: If HAM10000's table is missing.
    """

    def __init__(
        self,
        name: Literal["crc", "covid19", "ham10000", "breakhis"],
        root: str | Path,
        split: Split = "train",
        image_size: int = 224,
        seed: int = 0,
    ) -> None:
        check_choice(name, tuple(_LISTED), "name")
        check_choice(split, SPLITS, "split")
        check_count(image_size, "image_size")
        self.name, self.root, self.split, self.image_size, self.seed = name, Path(root), split, image_size, seed
        every = sorted(_LISTED[name](self.root, split), key=lambda one: one.path)
        self.classes = tuple(sorted({one.label for one in every}))
        if not every:
            raise ValueError(
                f"Expected `root` to hold pictures of {name} as its archive has them, but found none: {root}."
            )
        is_whole = name == "crc" and split == "test"  # has a folder of its own
        chosen = range(len(every)) if is_whole else _parts(every, _SHARES[name], seed)[SPLITS.index(split)]
        self.pictures = [every[place] for place in chosen]
        self.labels = torch.tensor([self.classes.index(one.label) for one in self.pictures])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = self.pictures[index]
        pixels = read_picture(picture.path)[None].float() / 255
        square = (self.image_size, self.image_size)
        image = F.interpolate(pixels, square, mode="bilinear", align_corners=False, antialias=True)[0]
        name = picture.path.relative_to(self.root).as_posix()
        return {"image": 2 * image - 1, "label": int(self.labels[index]), "id": name}


def _parts(pictures: Sequence[MedicalPicture], shares: Mapping[str, Sequence[float]], seed: int) -> list[list[int]]:
    """Return places of pictures for each part, rising; classes with shares of their own are split by themselves."""
    of_class: dict[str, list[int]] = {}
    for place, one in enumerate(pictures):
        of_class.setdefault(one.label if one.label in shares else "", []).append(place)
    parts: list[list[int]] = [[], [], []]
    for label, places in of_class.items():
        labels = sorted({pictures[place].label for place in places})
        numbers = [labels.index(pictures[place].label) for place in places]
        found = grouped_split(numbers, [pictures[place].group for place in places], shares[label], seed)
        for part, chosen in zip(parts, found, strict=False):
            part += [places[one] for one in chosen]
    return [sorted(part) for part in parts]


def _crc(root: Path, split: str) -> Iterator[MedicalPicture]:
    folder = _folder(root, "CRC-VAL-HE-7K" if split == "test" else "NCT-CRC-HE-100K")
    for path in pictures_below(folder):
        yield MedicalPicture(path, path.parent.name, str(path))


def _covid19(root: Path, split: str) -> Iterator[MedicalPicture]:  # noqa: ARG001
    for path in pictures_below(root):
        if path.parent.name == "images":
            yield MedicalPicture(path, path.parent.parent.name, str(path))


def _ham10000(root: Path, split: str) -> Iterator[MedicalPicture]:  # noqa: ARG001
    tables = sorted(root.rglob("HAM10000_metadata*"))
    if not tables:
        raise FileNotFoundError(f"Expected HAM10000_metadata.csv below `root`, but {root} has none.")
    paths = {path.stem: path for path in pictures_below(root)}
    with tables[0].open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["image_id"] in paths:
                yield MedicalPicture(paths[row["image_id"]], row["dx"], row["lesion_id"])


def _breakhis(root: Path, split: str) -> Iterator[MedicalPicture]:  # noqa: ARG001
    for path in pictures_below(root):
        label = next((part for part in path.parts if part in {"benign", "malignant"}), None)
        if label is not None:
            slide = "-".join(path.stem.split("-")[1:3])  # SOB_B_A-14-22549AB-40-001: year and slide, then magnification
            yield MedicalPicture(path, label, slide)


def _folder(root: Path, name: str) -> Path:
    return next((path for path in sorted(root.rglob(name)) if path.is_dir()), root / name)


_LISTED: dict[str, Callable[[Path, str], Iterator[MedicalPicture]]] = {
    "crc": _crc,
    "covid19": _covid19,
    "ham10000": _ham10000,
    "breakhis": _breakhis,
}
_SHARES: dict[str, dict[str, tuple[float, ...]]] = {
    "crc": {"": (0.8, 0.2)},
    "covid19": {"": (0.8, 0.1, 0.1)},
    "ham10000": {"": (0.6, 0.2, 0.2)},
    "breakhis": {"benign": (0.58, 0.2, 0.22), "malignant": (0.63, 0.18, 0.19)},
}
