"""How the images of `ShapesDataset` are drawn: batches of layers, painted over each other with anti-aliased edges.

All lengths are in pixels and all colours are RGB in [0, 1]. Every random number comes from the generator that is handed
in; how many are drawn, and in which order, does not depend on the labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lightning_xai.datasets.outlines import OUTLINES, REACH


@dataclass(frozen=True)
class Difficulty:
    """How hard the object is to tell from what surrounds it.

    Attributes:
        num_strokes: Short strokes of random colour that clutter the background.
        texture: Amplitude of the background's texture, in units of brightness.
        noise: Standard deviation of the noise on every pixel, in units of brightness.
        contrast: Smallest and largest difference in brightness between object and background.
        radius: Smallest and largest size of the object: radius of the disc with its area, as a fraction of the image.
    """

    num_strokes: int
    texture: float
    noise: float
    contrast: tuple[float, float]
    radius: tuple[float, float]


DIFFICULTIES = {
    "easy": Difficulty(num_strokes=0, texture=0.08, noise=0.01, contrast=(0.45, 0.6), radius=(0.18, 0.22)),
    "medium": Difficulty(num_strokes=5, texture=0.14, noise=0.02, contrast=(0.4, 0.6), radius=(0.15, 0.22)),
    "hard": Difficulty(num_strokes=14, texture=0.28, noise=0.07, contrast=(0.22, 0.4), radius=(0.11, 0.22)),
}


HUES = {
    "red": 0.0,
    "green": 1 / 3,
    "blue": 2 / 3,
    "yellow": 1 / 6,
    "cyan": 1 / 2,
    "magenta": 5 / 6,
    "orange": 1 / 12,
    "violet": 3 / 4,
}
"""Places on the circle of hues, in [0, 1); the first ones are the farthest apart."""
_VIVID = 0.8  # saturation of an object whose hue tells its class
_COLOURED = (0.3, 0.7)  # its brightness: what is darker or brighter shows no hue


def draw_scenes(
    shapes: Tensor, size: int, difficulty: Difficulty, generator: Generator, hues: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one object per image on a textured, cluttered background.

    Args:
        shapes: Index of each object's outline, int64 of shape (N,).
        size: Side of the images in pixels.
        difficulty: How hard the object is to see.
        generator: Source of all randomness.
        hues: Hue of each object, float32 of shape (N,) in [0, 1); drawn at random if None.

    Returns:
        Images, float32 of shape (N, 3, size, size) in [0, 1], and the masks of the objects, bool of shape
        (N, size, size), True where the centre of the pixel lies inside the outline.
    """
    num_images = len(shapes)
    brightness = uniform(0.2, 0.8, (num_images, 1), generator)
    contrast = uniform(*difficulty.contrast, (num_images, 1), generator)
    contrast = torch.where(brightness < 0.5, contrast, -contrast)
    images = _background(brightness, size, difficulty, generator)
    for _ in range(difficulty.num_strokes):
        images = paint(images, _stroke(num_images, size, generator), random_colors(brightness, generator))
    distance = _object_distance(shapes, size, difficulty, generator)
    shade = 0.3 * difficulty.texture * (smooth_field(num_images, size, 4, generator) - 0.5)
    color = random_colors(brightness + contrast, generator)  # drawn in any case: what follows is the same
    if hues is not None:
        color = colors(hues[:, None], (brightness + contrast).clamp(*_COLOURED), _VIVID)
    images = paint(images, distance, color + shade)
    noise = torch.randn(images.shape, generator=generator)
    return (images + difficulty.noise * noise).clamp(0, 1), distance <= 0


def uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw numbers between `low` and `high`, float32 of the given shape."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def pixel_grid(size: int) -> tuple[Tensor, Tensor]:
    """Return the x and y coordinates of the pixels' centres, each of shape (size, size)."""
    centres = torch.arange(size) + 0.5
    return centres.expand(size, size), centres[:, None].expand(size, size)


def colors(hue: Tensor, brightness: Tensor, saturation: Tensor | float) -> Tensor:
    """Mix colours of equal shape (N, 1) into RGB of shape (N, 3, 1, 1); hue runs once around the circle in [0, 1)."""
    thirds = torch.arange(3) / 3
    rgb = brightness + 0.5 * saturation * torch.cos(2 * math.pi * (hue - thirds))
    return rgb.clamp(0, 1)[..., None, None]


def random_colors(brightness: Tensor, generator: Generator) -> Tensor:
    """Choose hue and saturation at random for brightnesses of shape (N, 1); returns RGB of shape (N, 3, 1, 1)."""
    hue, saturation = torch.rand(2, *brightness.shape, generator=generator)
    return colors(hue, brightness, 0.5 * saturation)


def smooth_field(num_images: int, size: int, num_cells: int, generator: Generator) -> Tensor:
    """Draw random landscapes with about `num_cells` hills per side, of shape (N, 1, size, size) in [0, 1]."""
    coarse = torch.rand(num_images, 1, num_cells, num_cells, generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True).clamp(0, 1)


def paint(images: Tensor, distance: Tensor, color: Tensor) -> Tensor:
    """Paint a colour where the distance from an edge is negative, anti-aliased.

    Args:
        images: Images of shape (N, 3, size, size).
        distance: Distance from the edge in pixels, negative inside, of shape (N, size, size).
        color: RGB, broadcastable to the images.

    Returns:
        The painted images, of shape (N, 3, size, size).
    """
    opacity = (0.5 - distance).clamp(0, 1)[:, None]
    return torch.lerp(images, color.expand_as(images), opacity)


def badge_extent(size: int) -> int:
    """Return how far a badge reaches from its corner into images of this side, in pixels."""
    return max(5, size // 8) + 1


def _background(brightness: Tensor, size: int, difficulty: Difficulty, generator: Generator) -> Tensor:
    """Blend two colours by a landscape and roughen them at three scales."""
    num_images = len(brightness)
    blend = smooth_field(num_images, size, 3, generator)
    images = torch.lerp(random_colors(brightness, generator), random_colors(brightness, generator), blend)
    for num_cells in (5, 10, 20):
        images = images + difficulty.texture * (smooth_field(num_images, size, num_cells, generator) - 0.5)
    return images


def _stroke(num_images: int, size: int, generator: Generator) -> Tensor:
    """Return the distance (N, size, size) from one straight stroke with round ends per image."""
    half_length = uniform(0.03, 0.12, (num_images, 1, 1), generator) * size
    thickness = uniform(0.008, 0.025, (num_images, 1, 1), generator) * size
    along, across = _random_frame(num_images, size, torch.zeros(num_images, 1, 1), generator)
    return torch.hypot((along.abs() - half_length).clamp(min=0), across) - thickness


def _object_distance(shapes: Tensor, size: int, difficulty: Difficulty, generator: Generator) -> Tensor:
    """Return the distance (N, size, size) from the outline of one object per image, clear of the edges and the corners.

    The place and the size are drawn without looking at the class. The circle that contains every shape stays inside the
    image and does not touch the squares that `badge_extent` reserves in the corners.
    """
    radius = uniform(*difficulty.radius, (len(shapes), 1, 1), generator) * size
    reach = REACH * radius
    margin = torch.maximum(reach, badge_extent(size) + reach * math.sqrt(0.5)) + 1
    x, y = _random_frame(len(shapes), size, margin, generator)
    distance = torch.empty_like(x)
    for shape, outline in enumerate(OUTLINES):
        chosen = shapes == shape
        scale = radius[chosen] * math.sqrt(math.pi / outline.area)
        distance[chosen] = scale * outline.distance(x[chosen] / scale, y[chosen] / scale)
    return distance


def _random_frame(num_images: int, size: int, margin: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return the pixels' x and y, each (N, size, size), in frames turned at random, `margin` away from the edges."""
    place_x, place_y, turn = torch.rand(3, num_images, 1, 1, generator=generator)
    grid_x, grid_y = pixel_grid(size)
    x = grid_x - torch.lerp(margin, size - margin, place_x)
    y = grid_y - torch.lerp(margin, size - margin, place_y)
    angle = 2 * math.pi * turn
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
