"""The centre of images, enlarged."""

from __future__ import annotations

from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.comparison.transforms.moved import moved
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.evidence.neighbours.resampling import bilinear, nearest, turned_places
from lightning_xai.probing.sample import Sample


class Crop(Transform):
    """Cut out the centre of the image and enlarge it to the image's size.

    Values between pixels are bilinear. Masks and regions are enlarged pixel by nearest pixel, boxes exactly, and what
    lies outside is gone: the table says of how many images nothing that was annotated is left.

    Args:
        share: Of height and width that is cut out, in (0, 1]. It may end between two pixels.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.

    Example:
        >>> import torch
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> Crop(0.5)(Sample(image)).images[0, 0, 1]  # between the values 5, 6 and 9, 10
        tensor([5.7500, 6.2500, 6.7500, 7.2500])
    """

    def __init__(self, share: float) -> None:
        check_at_least(share, 0.0, "share", strict=True)
        if share > 1.0:
            raise ValueError(f"Expected `share` to be at most 1, but got {share}.")
        self.share = share

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:  # noqa: ARG002
        """See `Transform`."""
        images = sample.images
        size = (images.shape[2], images.shape[3])
        rows, columns = turned_places(size, images.device, share=self.share)
        enlarged = bilinear(images.double(), rows, columns).to(images.dtype)
        return moved(
            sample, enlarged, lambda maps: nearest(maps, rows, columns), lambda x, y: self._enlarged(x, y, size)
        )

    def _enlarged(self, x: Tensor, y: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return where places in the image are after the cut."""
        return (x - size[1] / 2) / self.share + size[1] / 2, (y - size[0] / 2) / self.share + size[0] / 2
