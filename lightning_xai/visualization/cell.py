"""One size for the pictures of a grid: small ones enlarged so that pixels stay pixels, large ones reduced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST_SHARE = 0.7  # of the cell that a whole multiple has to fill; below it a smooth enlargement looks better


@dataclass(frozen=True)
class Cell:
    """How images of one shape are resized for a grid whose cells measure ``size`` pixels along the longer side.

    A whole multiple of the image that fills at least 0.7 of the cell is preferred, because every pixel then stays a
    sharp square (28 becomes 140, 64 becomes 128 for ``size=160``); other images are resized smoothly to the cell.

    Args:
        image_height: Pixels.
        image_width: Pixels.
        size: Longer side of the cell in pixels.

    Example:
        >>> Cell(28, 28, 160).height, Cell(64, 32, 160).width, Cell(224, 112, 160).width, Cell(100, 100, 160).height
        (140, 64, 80, 160)

    """

    image_height: int
    image_width: int
    size: int

    @property
    def multiple(self) -> int | None:
        """The whole number every pixel is enlarged by, or None where the resizing is smooth."""
        longer = max(self.image_height, self.image_width)
        whole = self.size // longer
        return whole if whole * longer >= _SMALLEST_SHARE * self.size else None

    @property
    def factor(self) -> float:
        """Pixels of the cell per pixel of the image."""
        return self.multiple or self.size / max(self.image_height, self.image_width)

    @property
    def height(self) -> int:
        """Pixels of the resized image from top to bottom."""
        return max(1, round(self.image_height * self.factor))

    @property
    def width(self) -> int:
        """Pixels of the resized image from left to right."""
        return max(1, round(self.image_width * self.factor))

    def resized(self, maps: Tensor) -> Tensor:
        """Resize float maps, shape (N, C, H, W), to (N, C, height, width), none leaving its range."""
        if self.multiple:
            return maps.repeat_interleave(self.multiple, dim=-2).repeat_interleave(self.multiple, dim=-1)
        low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
        shape = (self.height, self.width)
        resized = F.interpolate(maps, shape, mode="bicubic", antialias=True, align_corners=False)
        return resized.clamp(low, high)

    def resized_pictures(self, pictures: Tensor) -> Tensor:
        """Resize uint8 pictures, shape (N, H, W, 3)."""
        resized = self.resized(pictures.permute(0, 3, 1, 2).float())
        return resized.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def resized_masks(self, masks: Tensor) -> Tensor:
        """Resize masks, shape (N, H, W), by the nearest pixel: bool."""
        inside = (masks.detach().cpu() > 0).unsqueeze(1).float()
        return F.interpolate(inside, (self.height, self.width), mode="nearest-exact").squeeze(1) > 0
