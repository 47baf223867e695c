"""From whatever a layer holds to feature maps (N, C, h, w)."""

from __future__ import annotations

import math
from itertools import product

from torch import Tensor

from lightning_xai._checks import shape

_PREFIXES = (2, 16)  # at most so many tokens precede the grid: class and distillation token, else registers too


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
        grid = token_grid(tensor.shape[1], image_size)
        if grid is not None:
            return tensor[:, -grid[0] * grid[1] :].transpose(1, 2).reshape(len(tensor), tensor.shape[2], *grid)
    raise ValueError(
        "Expected `target_layer` to hold feature maps (N, C, h, w), (N, h, w, C) or tokens (N, T, C) that fill a grid, "
        f"but {layer} holds {shape(tensor)}."
    )


def _is_channels_last(tensor: Tensor, image_size: tuple[int, int]) -> bool:
    """Return whether (N, h, w, C) has the image's shape, where (N, C, h, w) differs from it by more than rounding."""
    _, first, second, third = tensor.shape
    rounding = 1.0 / second + 1.0 / third
    return _distortion(first, second, image_size) < _distortion(second, third, image_size) - rounding


def is_in_proportion(height: int, width: int, image_size: tuple[int, int]) -> bool:
    """Return whether a grid has the proportions of the image (H, W), but for rounding."""
    return _distortion(height, width, image_size) <= 1.0 / height + 1.0 / width


def _distortion(height: int, width: int, image_size: tuple[int, int]) -> float:
    """Return how far height : width is from the image's, 0 if equal."""
    return abs(math.log(height / width) - math.log(image_size[0] / image_size[1]))


def token_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the grid of square patches that leaves few of ``tokens`` over, and divides the image if one does."""
    height, width = image_size
    patches = range(1, max(image_size) + 1)
    divided = [(height // p, width // p) for p in patches if height % p == width % p == 0]
    dropped = [(height // p, width // p) for p in patches]
    padded = [(-(-height // p), -(-width // p)) for p in patches]
    for most, grids in product(_PREFIXES, (divided, dropped + padded)):
        fitting = [(h, w) for h, w in grids if h * w > 0 and 0 <= tokens - h * w <= most]
        if fitting:
            return max(fitting, key=math.prod)
    return None
