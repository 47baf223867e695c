"""Images that lose detail and keep their size."""

from __future__ import annotations

from lightning_xai._checks import check_at_least
from lightning_xai.comparison.transforms.resize import resized
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.probing.sample import Sample


class Coarsening(Transform):
    """Make the image smaller and enlarge it again, so that it loses detail; everything stays where it is.

    Both bilinear, the first with antialiasing. Masks, boxes and regions stay as they are.

    Args:
        scale: Height and width of the smaller image as a share of the image's, in (0, 1]; one pixel at least.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.

    Example:
        >>> import torch
        >>> Coarsening(0.25)(Sample(torch.tensor([[[[0.0, 0.0, 2.0, 2.0]]]]))).images
        tensor([[[[1., 1., 1., 1.]]]])
    """

    def __init__(self, scale: float) -> None:
        check_at_least(scale, 0.0, "scale", strict=True)
        if scale > 1.0:
            raise ValueError(f"Expected `scale` to be at most 1, but got {scale}.")
        self.scale = scale

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:  # noqa: ARG002
        """See `Transform`."""
        images = sample.images.double()
        height, width = images.shape[2:]
        smaller = max(round(self.scale * height), 1), max(round(self.scale * width), 1)
        return with_images(sample, resized(resized(images, smaller), (height, width)))
