"""How a picture becomes an image of a network, and what becomes of its boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_at_least, check_count

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Framing:
    """The short side is resized, a square is cut out of the middle, and values are normalised; all of it goes along.

    Boxes are scaled and cut as the image is. A box of which nothing is left, less than one pixel in width or height or
    less than ``least_visible`` of its area, is dropped: its row is NaN and its class -1.

    Args:
        image_size: Side of the square in pixels; None keeps a picture as large as it is.
        short_side: To which the short side is resized before; 256/224 of the square's side if None, as networks of
            ImageNet are validated.
        mean: Of each channel, subtracted from values in [0, 1].
        std: Of each channel, by which they are divided.
        least_visible: Least share of a box's area that has to be in the square, in [0, 1].

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> framing = Framing(image_size=100, short_side=100)  # the middle of a picture 200 pixels high, 400 wide
        >>> framing.boxes(torch.tensor([[100.0, 0.0, 200.0, 200.0], [0.0, 0.0, 90.0, 90.0]]), (200, 400))
        tensor([[  0.,   0.,  50., 100.],
                [ nan,  nan,  nan,  nan]])
    """

    image_size: int | None = 224
    short_side: int | None = None
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    least_visible: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.image_size is not None:
            check_count(self.image_size, "image_size")
            if self.short_side is not None:
                check_count(self.short_side, "short_side", least=self.image_size)
        check_at_least(self.least_visible, 0.0, "least_visible")
        if self.least_visible > 1:
            raise ValueError(f"Expected `least_visible` to be at most 1, but got {self.least_visible}.")
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def image(self, pixels: Tensor) -> Tensor:
        """Return pixels (3, H, W), uint8, as an image (3, S, S), float32."""
        values = self._cut(pixels.float() / 255, "bilinear")
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return (values - mean) / std

    def masks(self, masks: Tensor) -> Tensor:
        """Return masks (..., H, W), bool, as (..., S, S), bool."""
        planes = masks.reshape(-1, *masks.shape[-2:]).float()
        cut = self._cut(planes, "nearest-exact") > 0.5
        return cut.reshape(*masks.shape[:-2], *cut.shape[-2:])

    def boxes(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Return boxes (M, 4) of a picture of this size, H and W, as those of its image; NaN where nothing is left."""
        place = self._place(size)
        scale = torch.tensor([place.width / size[1], place.height / size[0]] * 2)
        moved = boxes.float() * scale - torch.tensor([place.left, place.top] * 2)
        side_x, side_y = (place.width, place.height) if self.image_size is None else (self.image_size, self.image_size)
        cut = torch.stack([moved[:, 0::2].clamp(0, side_x), moved[:, 1::2].clamp(0, side_y)], dim=2).flatten(1)
        width, height = (cut[:, 2:] - cut[:, :2]).unbind(1)
        whole = (moved[:, 2:] - moved[:, :2]).prod(1)
        is_left = (width >= 1) & (height >= 1) & (width * height >= self.least_visible * whole)
        return torch.where(is_left[:, None], cut, torch.nan)

    def _place(self, size: tuple[int, int]) -> _Place:
        """Return the resized picture's height and width, and where the square begins in it."""
        if self.image_size is None:
            return _Place(*size, 0, 0)
        side = self.image_size
        short = max(side, round(side * 256 / 224)) if self.short_side is None else self.short_side
        scale = short / min(size)
        height, width = (max(short, round(length * scale)) for length in size)
        return _Place(height, width, (height - side) // 2, (width - side) // 2)

    def _cut(self, values: Tensor, how: str) -> Tensor:
        if self.image_size is None:
            return values
        place = self._place((values.shape[1], values.shape[2]))
        resized = F.interpolate(values[None], size=(place.height, place.width), mode=how, antialias=how == "bilinear")[
            0
        ]
        rows = slice(place.top, place.top + self.image_size)
        return resized[:, rows, place.left : place.left + self.image_size]


class _Place(NamedTuple):
    height: int
    width: int
    top: int
    left: int
