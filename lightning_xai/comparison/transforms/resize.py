"""Images of another size."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_count
from lightning_xai.comparison.transforms.moved import moved
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.evidence.neighbours.resampling import nearest, places_along
from lightning_xai.probing.sample import Sample


class Resize(Transform):
    """Resize the image, so that the network sees it at another size; `Coarsening` keeps the size.

    Bilinear, with antialiasing where it becomes smaller. Masks and regions are resized pixel by nearest pixel, boxes
    exactly.

    Args:
        size: Of the shorter side, the other in proportion; or (height, width).

    Raises:
        TypeError: If it is no whole number, or two.
        ValueError: If one is below 1.

    Example:
        >>> import torch
        >>> Resize(3)(Sample(torch.zeros(1, 1, 4, 8))).images.shape
        torch.Size([1, 1, 3, 6])
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        for side in [size] if isinstance(size, int) else size:
            check_count(side, "size")
        if not isinstance(size, int) and len(size) != 2:
            raise ValueError(f"Expected `size` as one number, or as (height, width), but got {size}.")
        self.size = size if isinstance(size, int) else tuple(size)

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:  # noqa: ARG002
        """See `Transform`."""
        old = (sample.images.shape[2], sample.images.shape[3])
        new = self.size_of(old)
        rows, columns = (places_along(*pair, sample.images.device) for pair in zip(old, new, strict=True))

        def maps(given: Tensor) -> Tensor:
            return nearest(given, rows[:, None], columns[None, :])

        def corners(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return x * (new[1] / old[1]), y * (new[0] / old[0])

        return moved(sample, resized(sample.images, new), maps, corners)

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the new (height, width) of an image of ``size``."""
        if isinstance(self.size, int):
            scale = self.size / min(size)
            return round(size[0] * scale), round(size[1] * scale)
        return self.size[0], self.size[1]


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (N, C, H, W) resized to (h, w): bilinear, with antialiasing; computed in float64."""
    exact: Tensor = F.interpolate(images.double(), size, mode="bilinear", antialias=True)
    return exact.to(images.dtype)
