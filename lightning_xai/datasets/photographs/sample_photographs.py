"""Photographs of scikit-image, scikit-learn and matplotlib, as networks of ImageNet want them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai.datasets.photographs.packaged import PHOTOGRAPHS, read_packaged

_PLACES = ((0.5, 0.5), (0.25, 0.0), (0.75, 1.0))
"""Where a square lies in what it leaves of its photograph, down and across: middle, left, right."""


class PhotographSample(TypedDict):
    """One item of `SamplePhotographs`; the default collate function makes batches of them.

    Attributes:
        image: float32 of shape (3, S, S) in [0, 1].
        label: Class of ImageNet-1k; -1 for a photograph that shows none.
        id: Name of the photograph; of several squares of one, with the number of the square: ``"coffee-1"``.
    """

    image: Tensor
    label: int
    id: str


class SamplePhotographs(Dataset[PhotographSample]):
    """Thirteen photographs that packages bring along, to explain a network with ImageNet weights without a download.

    Six show what ImageNet has a class for: a cat, a cup of espresso, a rocket (its class is "missile"), a motorcycle
    ("moped"), a palace and a uniform; a seventh the tripod of a camera. An astronaut, a dahlia, coins, a retina, tissue
    and galaxies are of no class: their label is -1, and ``target="label"`` explains what the network predicts.

    A photograph is cut to the square in its middle, which is 224/256 as wide as its short side, and resized. Further
    squares of a photograph resemble it, as the images of a data set do not.

    Args:
        image_size: Side S of the images in pixels.
        names: Of the photographs, in this order; all if None.
        num_squares: Squares per photograph, 1 to 3: the middle, further up on the left, further down on the right.
        share: Side of a square as a share of the photograph's short side, in (0, 1].

    Attributes:
        labels: Classes of the images, int64 of shape (N,).
        ids: Of the images.

    Raises:
        ModuleNotFoundError: If a package that brings one of them is not installed; the message says how to get it.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or a name is unknown.

    Example:
        >>> photographs = SamplePhotographs(64, names=["chelsea", "flower"])
        >>> photographs.labels, photographs[0]["image"].shape
        (tensor([285,  -1]), torch.Size([3, 64, 64]))
    """

    def __init__(
        self,
        image_size: int = 224,
        names: Sequence[str] | None = None,
        num_squares: int = 1,
        share: float = 224 / 256,
    ) -> None:
        check_count(image_size, "image_size", least=8)
        check_count(num_squares, "num_squares")
        check_at_least(share, 0.0, "share", strict=True)
        if num_squares > len(_PLACES) or share > 1:
            raise ValueError(
                f"Expected `num_squares` to be at most {len(_PLACES)} and `share` at most 1, but got {num_squares} and "
                f"{share}."
            )
        self.image_size, self.num_squares, self.share = image_size, num_squares, share
        self.names = tuple(PHOTOGRAPHS if names is None else names)
        for name in self.names:
            check_choice(name, tuple(PHOTOGRAPHS), "names")
        self.labels = torch.tensor([PHOTOGRAPHS[name].label for name in self.names]).repeat_interleave(num_squares)
        self.ids = tuple(
            name if num_squares == 1 else f"{name}-{number}" for name in self.names for number in range(num_squares)
        )
        self._images = torch.stack([square for name in self.names for square in self._squares(read_packaged(name))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> PhotographSample:
        return {"image": self._images[index].clone(), "label": int(self.labels[index]), "id": self.ids[index]}

    def _squares(self, photograph: Tensor) -> Iterator[Tensor]:
        height, width = photograph.shape[1:]
        side = round(self.share * min(height, width))
        for down, across in _PLACES[: self.num_squares]:
            top, left = round(down * (height - side)), round(across * (width - side))
            yield square_of(photograph[:, top : top + side, left : left + side], self.image_size)


def square_of(pixels: Tensor, size: int) -> Tensor:
    """Return uint8 pixels (3, H, W) as an image, float32 (3, size, size) in [0, 1]."""
    values = pixels[None].float() / 255
    return F.interpolate(values, size=(size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
