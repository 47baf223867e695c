"""Handwritten digits of scikit-learn."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_count
from lightning_xai._randomness import uniform

_FOR_TRAINING = 0.8


class DigitSample(TypedDict):
    """One item of `DigitsDataset`; the default collate function makes batches of them.

    Attributes:
        image: float32 of shape (1, S, S) in [0, 1].
        label: The digit.
        id: Such as ``"0012"``: place in scikit-learn's file.
    """

    image: Tensor
    label: int
    id: str


class DigitsDataset(Dataset[DigitSample]):
    """Handwritten digits that scikit-learn brings along, 8 × 8 pixels, enlarged: MNIST where there is no download.

    1,797 images: 1,437 to train on and 360 to test, chosen once and for all by numbers that do not depend on you.

    Source: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.

    Args:
        num_images: Number of images N, the first of the part; None for all of it.
        image_size: Side S of the images in pixels, at least 8; bilinear.
        train: Whether to take the part for training, or that for testing.

    Attributes:
        images: All images, float32 of shape (N, 1, S, S) in [0, 1].
        labels: Their digits, int64 of shape (N,).

    Raises:
        ModuleNotFoundError: If scikit-learn is not installed.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or there are fewer than `num_images`.

    Example:
        >>> digits = DigitsDataset(train=False)
        >>> len(digits), digits[0]["image"].shape
        (360, torch.Size([1, 32, 32]))
    """

    classes: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    """Names of the classes."""

    def __init__(self, num_images: int | None = None, image_size: int = 32, train: bool = True) -> None:
        check_count(image_size, "image_size", least=8)
        if num_images is not None:
            check_count(num_images, "num_images")
        pixels, labels = _digits()
        order = uniform(torch.arange(len(labels)), (), seed=0, purpose="digits").argsort()
        num_training = int(_FOR_TRAINING * len(labels))
        part = order[:num_training] if train else order[num_training:]
        if num_images is not None and num_images > len(part):
            raise ValueError(
                f"Expected `num_images` to be at most {len(part)}, the number of digits with train={train}, but got "
                f"{num_images}."
            )
        self.image_size, self.train = image_size, train
        self._places: list[int] = part[:num_images].tolist()
        size = (image_size, image_size)
        self.images = F.interpolate(pixels[self._places, None] / 16, size=size, mode="bilinear")
        self.labels = labels[self._places]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> DigitSample:
        return {
            "image": self.images[index].clone(),
            "label": int(self.labels[index]),
            "id": f"{self._places[index]:04d}",
        }


def _digits() -> tuple[Tensor, Tensor]:
    """Return float32 (1797, 8, 8) with values from 0 to 16, and the digits, int64 (1797,)."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Expected scikit-learn, which brings the digits, but it is not installed: pip install scikit-learn"
        ) from error
    found = load_digits()
    return torch.from_numpy(found.images).float(), torch.from_numpy(found.target).long()
