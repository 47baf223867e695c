"""From whatever a layer holds to feature maps (N, C, h, w)."""

from __future__ import annotations

import math

from torch import Tensor

from lightning_xai._checks import shape

_MAX_PREFIX = 16  # class, distillation and register tokens


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


def _distortion(height: int, width: int, image_size: tuple[int, int]) -> float:
    """Return how far height : width is from the image's, 0 if equal."""
    return abs(math.log(height / width) - math.log(image_size[0] / image_size[1]))


def _token_grid(tokens: int, image_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the (h, w) of the largest grid that square patches of the image can form with at most ``tokens``."""
    for patches in range(tokens, max(tokens - _MAX_PREFIX, 1) - 1, -1):
        height = round(math.sqrt(patches * image_size[0] / image_size[1]))
        for rows in (height, height + 1, height - 1):
            if rows > 0 and patches % rows == 0 and _is_patched(rows, patches // rows, image_size):
                return rows, patches // rows
    return None


def _is_patched(height: int, width: int, image_size: tuple[int, int]) -> bool:
    """Return whether some patch size divides both sides into so many patches, the rest dropped or padded."""
    sides = list(zip(image_size, (height, width), strict=True))
    dropped = math.floor(min(side / count for side, count in sides))
    padded = math.ceil(max(side / count for side, count in sides))
    return any(
        all(count == rounded(side / patch) for side, count in sides)
        for patch, rounded in ((dropped, math.floor), (padded, math.ceil))
        if patch > 0
    )
