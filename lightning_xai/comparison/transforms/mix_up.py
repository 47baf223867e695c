"""Images with another one shining through."""

from __future__ import annotations

from lightning_xai._checks import check_at_least
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.probing.sample import Sample


class MixUp(Transform):
    """Mix each image with another one of the data: ``(1 − share) x + share x'``.

    The other image is drawn among all different images of the data by the image's content and the comparison's seed, of
    whatever class; it is the same for every model and in any order, and resized if it has another size. Label, masks,
    boxes and regions stay those of the image itself: what shines through is a disturbance. So the question is whether
    explanations of the image's own class hold. (In training, where mixing comes from, labels are mixed as well: Zhang
    et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, https://arxiv.org/abs/1710.09412.)

    Args:
        share: Of the other image, in [0, 1).

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range, or the data have one image only.

    Example:
        >>> import torch
        >>> MixUp(0.25)(Sample(torch.tensor([0.0, 4.0]).view(2, 1, 1, 1))).images.flatten()
        tensor([1., 3.])
    """

    def __init__(self, share: float) -> None:
        check_at_least(share, 0.0, "share")
        if share >= 1.0:
            raise ValueError(f"Expected `share` to be below 1, or nothing is left of the image, but got {share}.")
        self.share = share

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        others = surroundings.partners(sample.images)
        return with_images(sample, (1.0 - self.share) * sample.images + self.share * others)
