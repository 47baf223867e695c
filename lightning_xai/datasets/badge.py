"""The shortcut of `ShapesDataset`: a small badge in a corner whose colour stands for a class."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lightning_xai.datasets.drawing import badge_extent, colors, paint, pixel_grid


def choose_badge_classes(labels: Tensor, num_classes: int, agreement: float, generator: Generator) -> Tensor:
    """Choose the class that each badge stands for: the label, or else one of the other classes, all equally likely.

    Args:
        labels: Classes of the images, int64 of shape (N,).
        num_classes: Number of classes, at least 2.
        agreement: Probability of the label, in [0, 1].
        generator: Source of all randomness.

    Returns:
        Classes, int64 of shape (N,).
    """
    agrees = torch.rand(len(labels), generator=generator) < agreement
    distance = torch.randint(1, num_classes, (len(labels),), generator=generator)
    return torch.where(agrees, labels, (labels + distance) % num_classes)


def draw_badges(images: Tensor, classes: Tensor, num_classes: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Put a badge in the colour of its class, framed in white, into a random corner of each image.

    Args:
        images: Images of shape (N, 3, size, size) in [0, 1].
        classes: Class that each badge stands for, int64 of shape (N,).
        num_classes: Number of classes; their hues are evenly spaced.
        generator: Source of all randomness.

    Returns:
        The images with their badges, and where these are, bool of shape (N, size, size).
    """
    size = images.shape[-1]
    half = (badge_extent(size) - 1) / 2
    corners = torch.randint(2, (2, len(images), 1, 1), generator=generator)
    centres = torch.where(corners == 0, 1 + half, size - 1 - half)
    x, y = (grid - centre for grid, centre in zip(pixel_grid(size), centres, strict=True))
    distance = torch.maximum(x.abs(), y.abs()) - half
    frame = max(1.0, size / 64)
    hue = classes[:, None] / num_classes
    fill = colors(hue, torch.full_like(hue, 0.5), saturation=1.0)
    badges = paint(paint(images, distance, torch.ones(())), distance + frame, fill)
    return badges, distance < 0
