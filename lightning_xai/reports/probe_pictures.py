"""The images of a probe as pictures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from lightning_xai.probing.probe import Probe


def probe_pictures(
    probe: Probe,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: int | Sequence[int] | None = None,
    size: int | None = None,
) -> list[Tensor]:
    """Return the images of a probe, each as uint8 (h, w, 3); all together decide how their range is read.

    Args:
        probe: The images.
        mean: Per channel, what they were normalised with; see `as_pictures`.
        std: Per channel, likewise.
        channels: Shown of images that are no photographs; see `Grid`.
        size: Longest side of a picture in pixels; None to leave them as they are.
    """
    from lightning_xai.visualization.channels import MOST_COLOURS, Channels
    from lightning_xai.visualization.pictures import as_pictures, in_one_batch

    images = [item.image for item in probe.items]
    if channels is not None or len(images[0]) > MOST_COLOURS:
        shown = Channels(channels)
        limits = shown.limits(images)
        images, mean, std = [shown.stretched(image[None], limits)[0] for image in images], None, None
    pictures = as_pictures(in_one_batch(images), mean, std)
    cropped = [picture[: one.shape[1], : one.shape[2]] for picture, one in zip(pictures, images, strict=True)]
    return [picture if size is None else _shrunk(picture, size) for picture in cropped]


def _shrunk(picture: Tensor, size: int) -> Tensor:
    shrinking = size / max(picture.shape[:2])
    if shrinking >= 1.0:
        return picture.clone()
    height, width = (max(round(side * shrinking), 1) for side in picture.shape[:2])
    small = F.interpolate(picture.permute(2, 0, 1)[None].float(), (height, width), mode="area")
    return small.round().byte()[0].permute(1, 2, 0).contiguous()
