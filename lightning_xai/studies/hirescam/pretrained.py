"""The networks of the thesis: torchvision's with ImageNet weights, and a flat head."""

from __future__ import annotations

from torch import nn

from lightning_xai.studies.networks import check_weights, flatten_head

_WEIGHTS = "IMAGENET1K_V1"


def pretrained_flat_head(
    name: str, num_classes: int, image_size: int = 224, *, download: bool = False
) -> nn.Sequential:
    """Return `flatten_head` with torchvision's first ImageNet weights, which have to be there already.

    Args:
        name: Such as ``"vgg19"``.
        num_classes: Number of logits.
        image_size: Side of the images.
        download: Whether the weights may be downloaded.

    Raises:
        FileNotFoundError: If torch's folder of weights has none, and they must not be downloaded.
    """
    check_weights(name, _WEIGHTS, download=download)
    return flatten_head(name, num_classes, image_size, weights=_WEIGHTS)
