"""How large an image is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST_FRACTION = 0.7  # of the cell that a whole multiple has to fill; below it a smooth enlargement looks better
_LONGEST_CELL = 3  # cell sizes; the shorter side of a long image has half of one as far as this allows


@dataclass(frozen=True)
class PictureSize:
    """The size at which images of one shape are drawn in cells that measure ``cell_size`` along the longer side.

    A whole multiple of the image that fills at least 0.7 of the cell is preferred, because every pixel then stays a
    sharp square (28 becomes 140, 64 becomes 128 for cells of 160); other images are resized smoothly to the cell. The
    cell of an image more than twice as long as wide is longer, so that half a ``cell_size`` is left for its shorter
    side: at most three times as long.

    Args:
        image_height: Pixels.
        image_width: Pixels.
        cell_size: Longer side of a cell in pixels.

    Example:
        >>> [PictureSize(*image, 160).width for image in ((28, 28), (64, 32), (224, 112), (100, 100), (100, 400))]
        [140, 64, 80, 160, 320]
    """

    image_height: int
    image_width: int
    cell_size: int

    @property
    def multiple(self) -> int | None:
        """The whole number every pixel is enlarged by, or None where the resizing is smooth."""
        longer = max(self.image_height, self.image_width)
        whole = self.longest // longer
        return whole if whole * longer >= _SMALLEST_FRACTION * self.longest else None

    @property
    def longest(self) -> int:
        """Pixels that the longer side may have."""
        sides = self.image_height, self.image_width
        for_half_a_cell = self.cell_size * max(sides) // (2 * min(sides))
        return min(max(self.cell_size, for_half_a_cell), _LONGEST_CELL * self.cell_size)

    @property
    def factor(self) -> float:
        """Pixels of the picture per pixel of the image."""
        return self.multiple or self.longest / max(self.image_height, self.image_width)

    @property
    def height(self) -> int:
        """Pixels of the picture from top to bottom."""
        return max(1, round(self.image_height * self.factor))

    @property
    def width(self) -> int:
        """Pixels of the picture from left to right."""
        return max(1, round(self.image_width * self.factor))

    @property
    def longer_side(self) -> int:
        """The larger of height and width."""
        return max(self.height, self.width)

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
