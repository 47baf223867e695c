"""Which layers of a pretrained network are trained, and which stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from torch import nn


def _features(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"features.{number}" for number in range(first, last + 1))


TRAINABLE_LAYERS = MappingProxyType(
    {
        ("crc", "resnet34"): ("layer3", "layer4"),
        ("crc", "vgg19"): _features(19, 34),
        ("covid19", "resnet34"): ("layer1", "layer2", "layer3", "layer4"),
        ("covid19", "vgg19"): _features(21, 34),
        ("ham10000", "resnet50"): ("layer4",),
        ("ham10000", "vgg19"): _features(12, 34),
        ("breakhis", "resnet50"): (),
        ("breakhis", "vgg19"): (),
    }
)
"""Data and network of the thesis on Grad-CAM and HiResCAM -> layers that it trains beside the new head."""


def train_only(network: nn.Module, layers: Iterable[str]) -> nn.Module:
    """Let a network learn in some layers and in its head, the last linear layer; everything else is frozen.

    Frozen are weights. Running means of normalisation still move in training mode, as in torchvision's own recipes.

    Args:
        network: Whose parameters' ``requires_grad`` is set.
        layers: Names as in ``network.named_modules()``; what lies in a layer belongs to it.

    Returns:
        The network itself.

    Raises:
        ValueError: If it has no such layer, or no linear layer.
    """
    modules = dict(network.named_modules())
    heads = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    if not heads:
        raise ValueError(f"Expected `network` to end in a linear layer, but {type(network).__name__} has none.")
    wanted = (*layers, heads[-1])
    unknown = [name for name in wanted if name not in modules]
    if unknown:
        listed = ", ".join(name for name, _ in network.named_children())
        raise ValueError(f"Expected `layers` to be names of layers, but there is no {unknown[0]!r} among {listed}.")
    network.requires_grad_(False)
    for name in wanted:
        modules[name].requires_grad_(True)
    return network
