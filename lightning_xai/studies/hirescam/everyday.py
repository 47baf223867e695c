"""The data sets of everyday things on which the thesis tries HAAS again (Tables 8 and 9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_choice, check_count

_ARGUMENTS: dict[str, dict[bool, dict[str, Any]]] = {
    "CIFAR10": {True: {"train": True}, False: {"train": False}},
    "STL10": {True: {"split": "train"}, False: {"split": "test"}},
    "Imagenette": {True: {"split": "train", "size": "320px"}, False: {"split": "val", "size": "320px"}},
}


class EverydayImages(Dataset[dict[str, Any]]):
    """CIFAR-10, STL-10 or Imagenette of torchvision, resized to a square, with values in [-1, 1].

    Args:
        name: ``"CIFAR10"``, ``"STL10"`` or ``"Imagenette"``.
        root: Where torchvision has its files.
        train: Whether to take the images for training, or those for testing (Imagenette: validation).
        image_size: Side of the square.
        download: Whether torchvision may bring what is missing.

    Raises:
        ValueError: If the name is unknown.
        RuntimeError: If the files are not there and must not be downloaded.
    """

    def __init__(
        self,
        name: Literal["CIFAR10", "STL10", "Imagenette"],
        root: str | Path,
        train: bool = True,
        image_size: int = 32,
        download: bool = False,
    ) -> None:
        check_choice(name, tuple(_ARGUMENTS), "name")
        check_count(image_size, "image_size")
        from torchvision import datasets

        self.image_size = image_size
        kind = getattr(datasets, name)
        is_there = name == "Imagenette" and (Path(root) / "imagenette2-320").is_dir()  # it refuses to download twice
        self._data = kind(str(root), **_ARGUMENTS[name][train], download=download and not is_there)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import numpy as np
        import torch

        picture, label = self._data[index]
        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
        square = (self.image_size, self.image_size)
        image = F.interpolate(pixels, square, mode="bilinear", align_corners=False, antialias=True)[0]
        return {"image": 2 * image - 1, "label": int(label), "id": str(index)}
