"""A small densely connected network."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_count

_LAYERS = 4  # per block


class DenseLayer(nn.Module):
    """A convolution after normalisation and ReLU, whose output is put beside its input."""

    def __init__(self, before: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(before, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return features with the new channels behind those that came in."""
        return torch.cat([features, self.conv(self.relu(self.norm(features)))], dim=1)


def small_densenet(num_classes: int, channels: int = 3, *, growth: int = 12) -> nn.Sequential:
    """Return DenseNet for images of 28 to 64 pixels: three blocks of four layers, halved between by transitions.

    Args:
        num_classes: Number of logits.
        channels: Of the images, which may have any size.
        growth: Channels that each layer adds.

    Returns:
        Images -> logits. Layers: ``conv0``, ``block1``, ``transition1``, …, ``block3``, ``norm``, ``relu``, ``pool``,
        ``flatten``, ``classifier``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    for name, value in (("num_classes", num_classes), ("channels", channels), ("growth", growth)):
        check_count(value, name)
    width = 2 * growth
    body: OrderedDict[str, nn.Module] = OrderedDict(conv0=nn.Conv2d(channels, width, 3, padding=1, bias=False))
    for number in (1, 2, 3):
        body[f"block{number}"] = nn.Sequential(*(DenseLayer(width + one * growth, growth) for one in range(_LAYERS)))
        width += _LAYERS * growth
        if number < 3:
            body[f"transition{number}"] = nn.Sequential(
                nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)
            )
            width //= 2
    body["norm"] = nn.BatchNorm2d(width)
    body["relu"] = nn.ReLU()
    body["pool"] = nn.AdaptiveAvgPool2d(1)
    body["flatten"] = nn.Flatten()
    body["classifier"] = nn.Linear(width, num_classes)
    return nn.Sequential(body)
