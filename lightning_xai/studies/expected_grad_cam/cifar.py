"""CIFAR-10 as large as a network of ImageNet can take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_count
from lightning_xai.datasets.readers.framing import IMAGENET_MEAN, IMAGENET_STD


class EnlargedCIFAR10(Dataset[dict[str, Any]]):
    """The test images of CIFAR-10, enlarged (bilinear) and normalised with ImageNet's mean and deviation.

    Items have ``image``, float32 (3, S, S), and ``label``, 0 to 9, which no network of ImageNet knows: explain what it
    predicts.

    Args:
        root: Folder in which torchvision keeps ``cifar-10-batches-py``.
        image_size: Side S in pixels.
        download: Whether it may be downloaded.
    """

    def __init__(self, root: str | Path, image_size: int = 96, *, download: bool = False) -> None:
        from torchvision.datasets import CIFAR10

        check_count(image_size, "image_size")
        self.image_size = image_size
        found = CIFAR10(str(root), train=False, download=download)
        self._pixels = torch.from_numpy(found.data).permute(0, 3, 1, 2)
        self.labels = torch.tensor(found.targets)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return image and label."""
        size = (self.image_size, self.image_size)
        image = F.interpolate(self._pixels[index][None].float() / 255, size, mode="bilinear", antialias=True)[0]
        mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
        return {"image": (image - mean) / std, "label": self.labels[index]}
