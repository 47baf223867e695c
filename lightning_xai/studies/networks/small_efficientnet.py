"""A small network in the manner of EfficientNet: depthwise convolutions, squeeze and excitation, SiLU."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightning_xai._checks import check_count

_BLOCKS = ((1, 1, 1), (4, 2, 2), (4, 2, 1), (4, 4, 2), (4, 4, 1))
"""Of each block: by how much channels are expanded inside, times the width that come out, stride."""


class SqueezeExcitation(nn.Module):
    """Channels, weighed by what all places together say about each."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the weighed features."""
        weighed: Tensor = self.weigh(features) * features
        return weighed


class MBConv(nn.Module):
    """Inverted bottleneck: channels are expanded, seen in 3 × 3 places each by itself, weighed, and mixed to fewer."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = before * expansion
        self.layers = nn.Sequential(
            *_conv_norm(before, inner, 1),
            nn.SiLU(),
            *_conv_norm(inner, inner, 3, stride=stride, groups=inner),
            nn.SiLU(),
            SqueezeExcitation(inner, max(1, before // 4)),
            *_conv_norm(inner, after, 1),
        )
        self.skips = stride == 1 and before == after

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, after, H / stride, W / stride)."""
        inner: Tensor = self.layers(features)
        return features + inner if self.skips else inner


def small_efficientnet(num_classes: int, channels: int = 3, *, width: int = 16) -> nn.Sequential:
    """Return EfficientNet for images of 28 to 64 pixels: five inverted bottleneck blocks.

    Args:
        num_classes: Number of logits.
        channels: Of the images, which may have any size.
        width: Channels of the first block; the last has four times, the layer before pooling twelve times as many.

    Returns:
        Images -> logits. Layers: ``stem``, ``block1`` … ``block5``, ``head``, ``avgpool``, ``flatten``, ``classifier``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    for name, value in (("num_classes", num_classes), ("channels", channels), ("width", width)):
        check_count(value, name)
    stem = nn.Sequential(*_conv_norm(channels, width, 3), nn.SiLU())
    body: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    before = width
    for number, (expansion, times, stride) in enumerate(_BLOCKS, start=1):
        body[f"block{number}"] = MBConv(before, times * width, expansion, stride)
        before = times * width
    body["head"] = nn.Sequential(*_conv_norm(before, 3 * before, 1), nn.SiLU())
    body["avgpool"] = nn.AdaptiveAvgPool2d(1)
    body["flatten"] = nn.Flatten()
    body["classifier"] = nn.Linear(3 * before, num_classes)
    return nn.Sequential(body)


def _conv_norm(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(after)
