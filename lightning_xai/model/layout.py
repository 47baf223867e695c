"""From whatever a layer holds to feature maps (N, C, h, w)."""

from __future__ import annotations

import math

from torch import Tensor

from lightning_xai._checks import shape

_MAX_PREFIX = 16


def feature_maps(tensor: Tensor, image_size: tuple[int, int], layer: str = "the target layer") -> Tensor:
    """Return ``tensor`` as feature maps (N, C, h, w).

    Args:
        tensor: (N, C, h, w); channels-last (N, h, w, C), recognised by the aspect ratio of the image; or tokens
            (N, T, C), whose leading class or register tokens are dropped so that the rest fills a grid.
        image_size: (H, W) of the images.
        layer: Name for the error.

    Raises:
        ValueError: If the tensor has no spatial axes.
    """
    if tensor.ndim == 4:
        return tensor.permute(0, 3, 1, 2) if _is_channels_last(tensor, image_size) else tensor
    if tensor.ndim == 3:
        grid = _token_grid(tensor.shape[1], image_size)
        if grid is not None:
            return tensor[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)
    raise ValueError(
        f"Expected `target_layer` to hold feature maps (N, C, h, w), (N, h, w, C) or tokens (N, T, C) that fill a grid, "
        f"but {layer} holds {shape(tensor)}."
    )


def _is_channels_last(tensor: Tensor, image_size: tuple[int, int]) -> bool:
    _, first, second, third = tensor.shape
    return _distortion(first, second, image_size) < _distortion(second, third, image_size) - 0.3


def _distortion(height: int, width: int, image_size: tuple[int, int]) -> float:
    """Return how far height : width is from the image's, 0 if equal."""
    return abs(math.log(height / width) - math.log(image_size[0] / image_size[1]))


def _token_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    for prefix in range(min(_MAX_PREFIX, tokens - 1) + 1):
        height = round(math.sqrt((tokens - prefix) * image_size[0] / image_size[1]))
        if height and (tokens - prefix) % height == 0:
            width = (tokens - prefix) // height
            if width > 0 and _distortion(height, width, image_size) < 0.05 + 1.0 / max(height, width):
                return height, width
    return None
