"""Small networks that end in Conv – Flatten – Linear, as those of the thesis do."""

from __future__ import annotations

from torch import Tensor, nn


def conv_flatten(channels: int = 1, num_classes: int = 10, size: int = 28) -> nn.Sequential:
    """Return three convolutions, the last one bare, and a linear layer on its values at half the size of the image."""
    return nn.Sequential(
        *_convolution(channels, 16),
        nn.MaxPool2d(2),
        *_convolution(16, 32),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Flatten(),
        nn.Linear(32 * (size // 2) ** 2, num_classes),
    )


def vgg_flatten(channels: int = 1, num_classes: int = 10, size: int = 28) -> nn.Sequential:
    """Return pairs of convolutions as in VGG, without ReLU and pooling at the end, at a quarter of the size."""
    return nn.Sequential(
        *_convolution(channels, 16),
        *_convolution(16, 16),
        nn.MaxPool2d(2),
        *_convolution(16, 32),
        *_convolution(32, 32),
        nn.MaxPool2d(2),
        *_convolution(32, 64),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.Flatten(),
        nn.Linear(64 * (size // 4) ** 2, num_classes),
    )


def resnet_flatten(channels: int = 1, num_classes: int = 10, size: int = 28) -> nn.Sequential:
    """Return residual blocks, the last one without its last BatchNorm, at a quarter of the size of the image."""
    return nn.Sequential(
        *_convolution(channels, 16),
        nn.MaxPool2d(2),
        Residual(16, 32, stride=2),
        Residual(32, 32, last_norm=False),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, num_classes),
    )


class Residual(nn.Module):
    """Two convolutions beside a shortcut, and ReLU of their sum.

    Args:
        channels: That come in.
        width: That go out.
        stride: Of the first convolution and the shortcut.
        last_norm: Whether the second convolution is normalised.
    """

    def __init__(self, channels: int, width: int, stride: int = 1, *, last_norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=not last_norm)
        self.bn2 = nn.BatchNorm2d(width) if last_norm else nn.Identity()
        is_same = channels == width and stride == 1
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(channels, width, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, H / stride, W / stride)."""
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
