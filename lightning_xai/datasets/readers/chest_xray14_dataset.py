"""ChestX-ray14: X-rays of the chest with findings, and boxes for some of them."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai.datasets.pictures import pictures_below
from lightning_xai.datasets.readers.annotated_pictures import AnnotatedPictures, Described
from lightning_xai.datasets.readers.framing import Framing

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
_OTHER_NAMES = {"Infiltrate": "Infiltration"}  # in the list of boxes
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


class ChestXray14Dataset(AnnotatedPictures):
    """ChestX-ray14 as it is handed out: ``Data_Entry_2017.csv``, ``BBox_List_2017.csv``, and pictures anywhere below.

    Items are as `AnnotatedPictures` has them; the group is the patient, whose pictures must not part in a split. The
    label says yes or no of each of the fourteen findings, or of one. 984 boxes were drawn in 880 pictures; in all
    others nobody looked, and their rows are NaN. Pictures are gray, in three equal channels.

    Source: Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised
    Classification and Localization of Common Thorax Diseases", CVPR 2017, https://arxiv.org/abs/1705.02315.

    Args:
        root: The folder.
        finding: One of the fourteen; then the label is 1 where it is there and 0 elsewhere, and boxes are of it.
        split: ``"train"`` for ``train_val_list.txt``, ``"test"`` for ``test_list.txt``, None for all pictures.
        boxed: Whether only pictures with a box count, as for localization.
        framing: How pictures are resized, cut and normalised.

    Raises:
        FileNotFoundError: If a list is not in the folder.
        ValueError: If an argument is none of the choices, or no picture of the lists is there.
    """

    def __init__(
        self,
        root: str | Path,
        finding: str | None = None,
        split: str | None = None,
        boxed: bool = False,
        framing: Framing | None = None,
    ) -> None:
        super().__init__(framing)
        check_choice(finding, (None, *FINDINGS), "finding")
        check_choice(split, (None, *_LISTS), "split")
        self.root, self.finding, self.split, self.boxed = Path(root), finding, split, boxed
        self.classes = FINDINGS if finding is None else (f"no {finding}", finding)
        self._boxes_of = self._read_boxes()
        wanted = self._wanted()
        paths = {path.name: path for path in pictures_below(self.root)}
        self._rows = [
            (paths[row["Image Index"]], set(row["Finding Labels"].split("|")), row["Patient ID"])
            for row in _read(self.root / "Data_Entry_2017.csv")
            if row["Image Index"] in paths and (wanted is None or row["Image Index"] in wanted)
        ]
        if not self._rows:
            raise ValueError(f"Expected pictures of Data_Entry_2017.csv below {root}, but none that counts is there.")
        self.most_boxes = max([1, *map(len, self._boxes_of.values())])

    def __len__(self) -> int:
        return len(self._rows)

    def describe(self, index: int) -> Described:
        """Return the findings in a picture."""
        path, findings, patient = self._rows[index]
        drawn = self._boxes_of.get(path.name, [])
        return Described(
            path=path,
            id=path.name,
            label=self._label(findings),
            boxes=torch.tensor([box for _, box in drawn]).reshape(-1, 4),
            box_labels=torch.tensor([place for place, _ in drawn], dtype=torch.int64),
            group=patient,
        )

    def _label(self, findings: set[str]) -> int | Tensor:
        if self.finding is not None:
            return int(self.finding in findings)
        return torch.tensor([float(name in findings) for name in FINDINGS])

    def _read_boxes(self) -> dict[str, list[tuple[int, tuple[float, ...]]]]:
        """Return class and box of what was drawn, by picture."""
        found: dict[str, list[tuple[int, tuple[float, ...]]]] = defaultdict(list)
        with _there(self.root / "BBox_List_2017.csv").open(newline="", encoding="utf-8") as file:
            for name, called, *numbers in list(csv.reader(file))[1:]:
                finding = _OTHER_NAMES.get(called, called)
                x, y, width, height = (float(number) for number in numbers[:4])
                if self.finding in {None, finding}:
                    place = FINDINGS.index(finding) if self.finding is None else 1
                    found[name].append((place, (x, y, x + width, y + height)))
        return dict(found)

    def _wanted(self) -> set[str] | None:
        """Return the names of the pictures that count; None if all do."""
        listed = None
        if self.split is not None:
            listed = set(_there(self.root / _LISTS[self.split]).read_text(encoding="utf-8").split())
        if not self.boxed:
            return listed
        return set(self._boxes_of) if listed is None else listed & set(self._boxes_of)


def _read(path: Path) -> list[dict[str, str]]:
    with _there(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"Expected `root` to be the folder of ChestX-ray14, but there is no {path}.")
    return path
