"""Noisy images."""

from __future__ import annotations

from lightning_xai._checks import check_at_least
from lightning_xai._randomness import normal
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.probing.sample import Sample


class GaussianNoise(Transform):
    """Add independent Gaussian noise to every value, and keep each channel in its range.

    The noise belongs to the image and the comparison's seed: it is the same in any batch and for every model. Values
    beyond the least or greatest value that a channel has anywhere in the data are set to that.

    Args:
        std: Standard deviation, as a share of the range of the data's values.
        absolute: Whether it is in the units of the images instead.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is negative.
    """

    def __init__(self, std: float, absolute: bool = False) -> None:
        check_at_least(std, 0.0, "std")
        self.std = std
        self.absolute = absolute

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        images = sample.images
        keys = surroundings.keys.to(images.device)
        noise = normal(keys, tuple(images.shape[1:]), seed=surroundings.seed, purpose="gaussian noise")
        noise = noise * (self.std * surroundings.unit(absolute=self.absolute))
        return with_images(sample, surroundings.clamped(images + noise.to(images.dtype)))
