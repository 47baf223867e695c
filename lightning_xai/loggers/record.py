"""What is logged: a picture with its name and its place in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PictureRecord:
    """A picture and everything a logger may want to know about it; each logger takes what it can show.

    Args:
        name: Words separated by slashes, such as ``"xai/heatmaps"``; the same in every epoch.
        picture: uint8, shape (H, W, 3), any device.
        caption: Shown with the picture by loggers that have a place for it; empty for none.
        step: Position on the x-axis of Lightning's own scalars.
        epoch: Number of the epoch, from 0.

    Raises:
        TypeError: If ``picture`` is not uint8.
        ValueError: If ``picture`` is not (H, W, 3) or ``name`` is empty or has an empty, ``.`` or ``..`` part.

    Example:
        >>> import torch
        >>> PictureRecord("xai/heatmaps", torch.zeros(4, 6, 3, dtype=torch.uint8), step=7).pixels.shape
        (4, 6, 3)

    """

    name: str
    picture: Tensor
    caption: str = ""
    step: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        if any(part.strip() in {"", ".", ".."} for part in self.name.split("/")):
            raise ValueError(
                f'Expected `name` to be words separated by slashes, such as "xai/heatmaps", but got "{self.name}".'
            )
        if self.picture.dtype != torch.uint8:
            raise TypeError(f"Expected `picture` to have dtype torch.uint8, but got {self.picture.dtype}.")
        if self.picture.ndim != 3 or self.picture.shape[2] != 3:
            raise ValueError(f"Expected `picture` to have shape (H, W, 3), but got {tuple(self.picture.shape)}.")

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture as an array: uint8, shape (H, W, 3)."""
        array: NDArray[np.uint8] = self.picture.detach().cpu().contiguous().numpy()
        return array
