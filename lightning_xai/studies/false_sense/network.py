"""The network of the small scale: residual, halving early, so that ten methods cost minutes."""

from __future__ import annotations

from collections import OrderedDict

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
