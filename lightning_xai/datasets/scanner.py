"""What a machine adds to a chest: its contrast, blur and noise, a dark frame, and a letter of lead in a corner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xai.datasets.chest import Numbers
from lightning_xai.datasets.drawing import pixel_grid

_FRAME, _LEAD = 0.02, 0.97  # brightness
_WIDEST = 1 / 16  # of a frame, as a share of the side


@dataclass(frozen=True)
class Scanner:
    """How the images of a site look.

    Attributes:
        name: Of the site.
        share: Of the images.
        contrast: Factor around the middle of the brightness.
        brightness: Added.
        blur: Share of the mean over 3×3 pixels.
        noise: Standard deviation on every pixel.
    """

    name: str
    share: float
    contrast: float
    brightness: float
    blur: float
    noise: float


SCANNERS = (
    Scanner("clinic", 0.5, contrast=1.0, brightness=0.0, blur=0.2, noise=0.02),
    Scanner("ward", 0.3, contrast=0.75, brightness=0.06, blur=0.7, noise=0.04),
    Scanner("practice", 0.2, contrast=1.25, brightness=-0.04, blur=0.0, noise=0.01),
)


def choose_sites(numbers: Numbers) -> Tensor:
    """Return the index of each image's scanner, int64 (N,)."""
    ends = torch.tensor([one.share for one in SCANNERS]).cumsum(0)[:-1]
    return torch.bucketize(numbers.between(0, 1, "site")[:, 0, 0], ends, right=True)


def scan(images: Tensor, sites: Tensor, numbers: Numbers) -> Tensor:
    """Return images (N, S, S) as the scanners of their sites show them."""

    def of_site(name: str) -> Tensor:
        return torch.tensor([getattr(one, name) for one in SCANNERS])[sites][:, None, None]

    smooth = F.avg_pool2d(F.pad(images[:, None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[:, 0]
    images = torch.lerp(images, smooth, of_site("blur"))
    images = 0.5 + of_site("contrast") * (images - 0.5) + of_site("brightness")
    return images + of_site("noise") * numbers.noise(images.shape[-1])


def frame_masks(numbers: Numbers, size: int) -> Tensor:
    """Return where the dark frame is, bool (N, size, size): on each side of a width of its own, at least a pixel."""
    x, y = pixel_grid(size)
    widths = ((numbers.between(0, _WIDEST, f"frame {side}") * size).round().clamp(min=1) for side in range(4))
    left, top, right, bottom = widths
    return (x < left) | (y < top) | (x > size - right) | (y > size - bottom)


def draw_frames(images: Tensor, masks: Tensor) -> Tensor:
    """Return images (N, S, S) that are dark where the frame is."""
    return torch.where(masks, _FRAME, images)


def marker_extent(size: int) -> int:
    """Return the side of a marker in images of this side, in pixels."""
    return max(6, size // 8)


def draw_markers(images: Tensor, present: Tensor, numbers: Numbers) -> tuple[Tensor, Tensor]:
    """Put a letter of lead, an L, inside the frame into an upper corner of some images.

    Args:
        images: (N, S, S).
        present: Which images get one, bool (N,).
        numbers: Of the images; the side is chosen at random.

    Returns:
        The images, and the square that each letter fills, bool (N, S, S).
    """
    size = images.shape[-1]
    extent, start = marker_extent(size), round(_WIDEST * size) + 1
    grid_x, grid_y = pixel_grid(size)
    is_left = numbers.between(0, 1, "corner of marker") < 0.5
    x = grid_x - torch.where(is_left, start, size - start - extent)
    y = grid_y - start
    square = (x > 0) & (x < extent) & (y > 0) & (y < extent) & present[:, None, None]
    stroke = extent / 3
    letter = square & ((x < stroke) | (y > extent - stroke))
    return torch.where(letter, _LEAD, images), square
