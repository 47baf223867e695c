"""Small gray images in IDX files: MNIST and what comes in its form."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xai._checks import check_count
from lightning_xai.datasets.idx import read_idx


class IdxSample(TypedDict):
    """One item of `FashionMNIST` and `MNIST`; the default collate function makes batches of them.

    Attributes:
        image: float32 of shape (1, 28, 28) in [0, 1].
        label: Index into `classes`.
        id: Such as ``"train-00012"``: which files, and place in them.
    """

    image: Tensor
    label: int
    id: str


class IdxImages(Dataset[IdxSample]):
    """Images of 28 × 28 pixels from the four IDX files of a data set, as they are.

    Args:
        num_images: Number of images N, the first of the files; None for all.
        train: Whether to take the images for training, or those for testing.
        folder: With ``train-images-idx3-ubyte``, compressed or not, and the other three files, or with those below it
            where torchvision puts them.
        download: Whether torchvision may bring the files into the folder if they are not there.

    Attributes:
        images: All images, uint8 of shape (N, 28, 28).
        labels: Their classes, int64 of shape (N,).

    Raises:
        FileNotFoundError: If the files are not in the folder, and are not to be downloaded.
        TypeError: If an argument has the wrong type.
        ValueError: If there are fewer than `num_images`, or the files do not fit together.
    """

    called: ClassVar[str]
    """What torchvision calls the data set."""
    classes: tuple[str, ...]
    """Names of the classes."""
    advice: ClassVar[str] = ""
    """Where else the files come from, for the error."""

    def __init__(
        self, num_images: int | None = None, train: bool = True, folder: str | Path = "data", download: bool = False
    ) -> None:
        if num_images is not None:
            check_count(num_images, "num_images")
        self.train, self.folder = train, str(folder)
        if download and not self._has_files(Path(folder)):
            self._download(folder)
        self.images, self.labels = self.read(Path(folder), train=train)
        if num_images is not None and num_images > len(self.labels):
            raise ValueError(
                f"Expected `num_images` to be at most {len(self.labels)}, as many as {folder} holds with "
                f"train={train}, but got {num_images}."
            )
        self.images, self.labels = self.images[:num_images], self.labels[:num_images]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> IdxSample:
        index = range(len(self))[index]
        return {
            "image": self.images[index][None] / 255,
            "label": int(self.labels[index]),
            "id": f"{'train' if self.train else 'test'}-{index:05d}",
        }

    @classmethod
    def read(cls, folder: Path, *, train: bool) -> tuple[Tensor, Tensor]:
        """Return all images, uint8 (N, 28, 28), and labels, int64 (N,); see the class for errors."""
        split = "train" if train else "t10k"
        images = read_idx(cls._file(folder, f"{split}-images-idx3-ubyte"))
        labels = read_idx(cls._file(folder, f"{split}-labels-idx1-ubyte")).long()
        if images.dtype != torch.uint8 or images.ndim != 3 or not len(images) or len(labels) != len(images):
            raise ValueError(
                f"Expected the files in {folder} to hold uint8 images of shape (N, 28, 28) and N labels, but got "
                f"{images.dtype} of shape {tuple(images.shape)} and {len(labels)} labels."
            )
        if labels.max() >= len(cls.classes):
            raise ValueError(
                f"Expected the labels in {folder} to be below {len(cls.classes)}, the number of classes of "
                f"{cls.called}, but got {int(labels.max())}."
            )
        return images, labels

    @classmethod
    def _places(cls, folder: Path) -> tuple[Path, Path]:
        return folder, folder / cls.called / "raw"

    @classmethod
    def _file(cls, folder: Path, name: str) -> Path:
        """Return the file, compressed or not; raise FileNotFoundError that says how to get it if there is neither."""
        for place in cls._places(folder):
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    return path
        raise FileNotFoundError(
            f"Expected {cls.called} in `folder`, but {folder} has no {name}(.gz). {cls.advice}Download it with "
            f"`torchvision.datasets.{cls.called}('data', download=True)` and pass folder='data/{cls.called}/raw'."
        )

    def _has_files(self, folder: Path) -> bool:
        try:
            self._file(folder, f"{'train' if self.train else 't10k'}-images-idx3-ubyte")
        except FileNotFoundError:
            return False
        return True

    def _download(self, folder: str | Path) -> None:
        from torchvision import datasets

        getattr(datasets, self.called)(str(folder), train=self.train, download=True)
