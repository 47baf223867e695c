"""Networks of the studies by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from lightning_xai._checks import check_choice
from lightning_xai.studies.networks.convolutional import conv_flatten, conv_gap, mnist_cnn, vgg_fc, vgg_flatten
from lightning_xai.studies.networks.flat_head import LAST_CONVOLUTIONS, flatten_head
from lightning_xai.studies.networks.pretrained import efficientnet_lite0
from lightning_xai.studies.networks.residual import resnet_flatten, small_resnet18
from lightning_xai.studies.networks.small_densenet import small_densenet
from lightning_xai.studies.networks.small_efficientnet import small_efficientnet
from lightning_xai.studies.networks.small_vit import SmallViT

NETWORKS: MappingProxyType[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "conv_flatten": conv_flatten,
        "conv_relu_flatten": partial(conv_flatten, last_relu=True),
        "conv_gap": conv_gap,
        "vgg_flatten": vgg_flatten,
        "vgg_fc": vgg_fc,
        "resnet_flatten": resnet_flatten,
        "mnist_cnn": mnist_cnn,
        "small_resnet18": small_resnet18,
        "small_densenet": small_densenet,
        "small_efficientnet": small_efficientnet,
        "small_vit": SmallViT,
        "efficientnet_lite0": efficientnet_lite0,
        **{f"{name}_flatten_head": partial(flatten_head, name) for name in LAST_CONVOLUTIONS},
    }
)
"""Name -> what makes the network; weights are random by torch's seed, but for ``efficientnet_lite0``."""

_FIXED = {"channels": 3, "num_classes": 1000}
"""What networks expect that do not ask."""


def make_network(name: str, *, num_classes: int, channels: int, image_size: int, **settings: Any) -> nn.Module:
    """Return a network for images and classes of some data.

    Args:
        name: Of `NETWORKS`.
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels; it makes no difference to networks that take any.
        **settings: Further arguments of what makes it, such as ``width``.

    Raises:
        TypeError: If it has no such setting.
        ValueError: If there is no network of this name, or it cannot take such images or tell so many classes.

    Example:
        >>> import torch
        >>> network = make_network("small_vit", num_classes=10, channels=1, image_size=28)
        >>> network(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    check_choice(name, tuple(NETWORKS), "name")
    factory = NETWORKS[name]
    asked = inspect.signature(factory).parameters
    known = {"num_classes": num_classes, "channels": channels, "image_size": image_size}
    for argument, fixed in _FIXED.items():
        if argument not in asked and known[argument] != fixed:
            raise ValueError(f"Expected `{argument}` to be {fixed} for {name!r}, but got {known[argument]}.")
    return factory(**{argument: value for argument, value in known.items() if argument in asked}, **settings)
