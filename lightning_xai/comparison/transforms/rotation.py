"""Images turned about their centre."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_at_least
from lightning_xai.comparison.transforms.moved import moved
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.evidence.neighbours.resampling import bilinear, inside, nearest, turned_places
from lightning_xai.probing.sample import Sample


class Rotation(Transform):
    """Turn the image about its centre, counter-clockwise, and keep its size.

    Values between pixels are bilinear; what comes in from outside is ``fill``. Masks and regions turn with it, pixel by
    nearest pixel, and end at the edges. A box becomes the upright box around the turned one, cut at the edges, which is
    wider than the object: give masks where that matters.

    Args:
        degrees: Of the turn.
        fill: What comes in from outside; see `baseline_images`. The images' own units: 0 is black for images in [0, 1],
            the mean colour for normalised ones.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> Rotation(90)(Sample(image)).images
        tensor([[[[2., 4.],
                  [1., 3.]]]])
    """

    def __init__(self, degrees: float, fill: Baseline = 0.0) -> None:
        check_at_least(degrees, -360.0, "degrees")
        if degrees > 360.0:
            raise ValueError(f"Expected `degrees` to be <= 360.0, but got {degrees}.")
        self.degrees = degrees
        self.fill = checked_baseline(fill)

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        images = sample.images
        size = (images.shape[2], images.shape[3])
        rows, columns = turned_places(size, images.device, degrees=self.degrees)
        is_inside = inside(rows.round(decimals=9), columns.round(decimals=9), size)
        turned = bilinear(images.double(), rows, columns).to(images.dtype)
        keys = surroundings.keys.to(images.device)
        filling = baseline_images(images, self.fill, keys, seed=surroundings.seed)

        def maps(given: Tensor) -> Tensor:
            return nearest(given, rows, columns) & is_inside

        return moved(sample, torch.where(is_inside, turned, filling), maps, lambda x, y: self._turned(x, y, size))

    def _turned(self, x: Tensor, y: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return where places in the image are after the turn."""
        angle = math.radians(self.degrees)
        right, down = x - size[1] / 2, y - size[0] / 2
        return (
            math.cos(angle) * right + math.sin(angle) * down + size[1] / 2,
            math.cos(angle) * down - math.sin(angle) * right + size[0] / 2,
        )
