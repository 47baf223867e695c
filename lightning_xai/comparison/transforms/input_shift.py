"""Images to which a constant is added."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lightning_xai._checks import check_at_least
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.probing.sample import Sample


class InputShift(Transform):
    """Add a constant to every value of the image; nothing is clamped, or it would be no shift.

    An explanation of what the network does should not depend on where the zero of its input lies: of a network whose
    first layer takes the constant off again, the heatmaps of the shifted images should be those of the images
    (Kindermans et al., "The (Un)reliability of Saliency Methods", 2017, https://arxiv.org/abs/1711.00867).

    Args:
        amount: What is added, or one number per channel, as a share of the range of the data's values.
        absolute: Whether it is in the units of the images instead.

    Raises:
        TypeError: If it is no number, nor several.
        ValueError: If there is not one per channel.

    Example:
        >>> InputShift([1.0, -2.0], absolute=True)(Sample(torch.zeros(1, 2, 1, 1))).images.flatten()
        tensor([ 1., -2.])
    """

    def __init__(self, amount: float | Sequence[float], absolute: bool = False) -> None:
        for one in amount if isinstance(amount, (list, tuple)) else [amount]:
            check_at_least(one, -math.inf, "amount")  # type: ignore[arg-type]
        self.amount = tuple(amount) if isinstance(amount, (list, tuple)) else amount
        self.absolute = absolute

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        images = sample.images
        amounts = torch.tensor(self.amount, dtype=images.dtype, device=images.device).view(-1, 1, 1)
        if len(amounts) not in {1, images.shape[1]}:
            raise ValueError(
                f"Expected `amount` as one number, or one per channel ({images.shape[1]}), but got {self.amount}."
            )
        return with_images(sample, images + amounts * surroundings.unit(absolute=self.absolute))
