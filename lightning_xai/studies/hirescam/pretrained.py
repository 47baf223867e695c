"""The networks of the thesis: torchvision's with ImageNet weights, and a flat head."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lightning_xai.studies.networks import flatten_head


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
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)["IMAGENET1K_V1"]
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(weights.url).rpartition("/")[2]
    if not download and not file.is_file():
        raise FileNotFoundError(
            f"Expected the ImageNet weights of {name} at {file}, but there are none: pass --download or put them there."
        )
    return flatten_head(name, num_classes, image_size, weights="IMAGENET1K_V1")
