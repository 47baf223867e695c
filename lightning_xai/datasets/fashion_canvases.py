"""Fashion-MNIST garments on cluttered canvases: real images of which it is known where the object is."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xai._checks import check_count
from lightning_xai._randomness import uniform
from lightning_xai.datasets.canvases import NUM_DRAWN, paste_on_canvases
from lightning_xai.datasets.fashion_mnist import DEBIAN, FashionMNIST
from lightning_xai.datasets.shapes import boxes_around, one_thread

_BLOCK = 256  # canvases that are drawn together


class CanvasSample(TypedDict):
    """One item of `FashionCanvases`; the default collate function makes batches of them.

    Attributes:
        image: float32 of shape (3, S, S) in [0, 1]; gray, the three channels are equal.
        label: Index into `FashionCanvases.classes`.
        mask: bool of shape (S, S), True on the garment.
        box: int64 of shape (4,): x1, y1, x2, y2 in pixels; x2 and y2 are exclusive, so that the width is x2 - x1.
    """

    image: Tensor
    label: int
    mask: Tensor
    box: Tensor


class FashionCanvases(Dataset[CanvasSample]):
    """Fashion-MNIST garments, each at a random place in a random size on a canvas with scraps of other garments.

    Ten classes of real images, of which it is known where the object is, so that localization can be measured. A
    garment's picture is 44 to 72 % as wide as the canvas; behind it are dim clouds and eight square scraps, cut from
    garments of the same files. Nothing is downloaded: the four IDX files of Fashion-MNIST have to be there, compressed
    or not, as the Debian package ``dataset-fashion-mnist`` and torchvision's download bring them.

    Image i is garment i of the files. What surrounds it depends on `seed`, `train`, `image_size` and i alone: a short
    data set is the beginning of a longer one. The global random state is neither read nor changed.

    Source: Xiao, Rasul & Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    2017, https://arxiv.org/abs/1708.07747; the canvases are this package's.

    Args:
        num_images: Number of images N, the first of the files; None for all: 60,000, or 10,000 of ``train=False``.
        image_size: Side S of the canvases in pixels, at least 32.
        train: Whether to take the garments for training, or those for testing.
        folder: With ``train-images-idx3-ubyte.gz`` and the other three files.
        seed: Of places, sizes, clouds and scraps.

    Raises:
        FileNotFoundError: If the files are not in the folder; the message says how to get them.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, there are fewer than `num_images`, or a file is damaged.

    Example:
        >>> from lightning_xai import FashionCanvases
        >>> FashionCanvases(folder="nowhere")
        Traceback (most recent call last):
            ...
        FileNotFoundError: Expected FashionMNIST in `folder`, but nowhere has no train-images-idx3-ubyte(.gz). ...
    """

    classes: tuple[str, ...] = FashionMNIST.classes
    """Names of the classes."""
    images: Tensor
    """All canvases, uint8 of shape (N, 1, S, S)."""
    labels: Tensor
    """Classes of the garments, int64 of shape (N,)."""
    masks: Tensor
    """Where the garments are, bool of shape (N, S, S)."""
    boxes: Tensor
    """Smallest boxes around the masks, int64 of shape (N, 4), as in `CanvasSample`."""

    def __init__(
        self,
        num_images: int | None = None,
        image_size: int = 64,
        train: bool = True,
        folder: str | Path = DEBIAN,
        seed: int = 0,
    ) -> None:
        check_count(image_size, "image_size", least=32)
        check_count(seed, "seed", least=0)
        if num_images is not None:
            check_count(num_images, "num_images")
        split = "train" if train else "t10k"
        garments, labels = FashionMNIST.read(Path(folder), train=train)
        if num_images is not None and num_images > len(labels):
            raise ValueError(
                f"Expected `num_images` to be at most {len(labels)}, the number of garments in {folder} with "
                f"train={train}, but got {num_images}."
            )
        self.image_size, self.train, self.folder, self.seed = image_size, train, str(folder), seed
        self.labels = labels[:num_images]
        with one_thread():
            chunks = torch.split(torch.arange(len(self.labels)), _BLOCK)
            blocks = [self._drawn(garments, indices, split) for indices in chunks]
        self.images, self.masks = (torch.cat(part) for part in zip(*blocks, strict=True))
        if not self.masks.flatten(1).any(1).all():
            raise ValueError(f"Expected every garment in {folder} to be seen, but got images that are black all over.")
        self.boxes = boxes_around(self.masks)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> CanvasSample:
        return {
            "image": (self.images[index] / 255).repeat(3, 1, 1),
            "label": int(self.labels[index]),
            "mask": self.masks[index].clone(),
            "box": self.boxes[index].clone(),
        }

    def _drawn(self, garments: Tensor, indices: Tensor, split: str) -> tuple[Tensor, Tensor]:
        drawn = uniform(indices, (NUM_DRAWN,), seed=self.seed, purpose=f"canvases of {split}")
        canvases, masks = paste_on_canvases(garments[indices] / 255, garments, drawn, self.image_size)
        return (255 * canvases[:, None]).round().to(torch.uint8), masks
