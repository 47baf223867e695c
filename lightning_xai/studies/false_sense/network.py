"""The networks of the study: the paper's, and a small residual one whose ten methods cost minutes."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from lightning_xai._checks import check_count
from lightning_xai.studies.networks.residual import Residual


def early_halving_resnet(num_classes: int, channels: int = 3, *, width: int = 16) -> nn.Sequential:
    """Return a residual network that halves the image in its stem and in each of two blocks, pooled before its head.

    For images of 32 to 64 pixels; one of 48 costs five million multiplications, and its last features are 6 × 6.

    Args:
        num_classes: Number of logits.
        channels: Of the images, which may have any size.
        width: Channels of the stem, which double in each block.

    Returns:
        Images -> logits. Layers: ``conv1``, ``bn1``, ``relu``, ``layer1``, ``layer2``, ``avgpool``, ``flatten``,
        ``fc``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    for number, name in ((num_classes, "num_classes"), (channels, "channels"), (width, "width")):
        check_count(number, name)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False),
            bn1=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            layer1=Residual(width, 2 * width, stride=2),
            layer2=Residual(2 * width, 4 * width, stride=2),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(4 * width, num_classes),
        )
    )


def imagenet_resnet50(*, download: bool = False) -> nn.Module:
    """Return torchvision's ResNet-50 with the weights that it had in version 0.8 (122): ``IMAGENET1K_V1``.

    Args:
        download: Whether the weights may be fetched where they are not in torch's cache.

    Raises:
        FileNotFoundError: If they are not there and may not be fetched.
    """
    from torchvision.models import ResNet50_Weights, resnet50

    weights = ResNet50_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not download and not path.is_file():
        raise FileNotFoundError(f"Expected the weights of ResNet-50 as {path}, but there are none: pass --download.")
    network: nn.Module = resnet50(weights=weights)
    return network.eval()
