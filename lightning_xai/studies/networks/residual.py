"""Small residual networks."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightning_xai._checks import check_count


class Residual(nn.Module):
    """Two convolutions beside what skips them; every ReLU is a module of its own, as rules for relevance want it.

    Args:
        before: Channels that come in.
        after: Channels that go out.
        stride: Of the first convolution.
        ends_in_conv: Whether no normalisation follows the second convolution.
    """

    def __init__(self, before: int, after: int, stride: int = 1, *, ends_in_conv: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=ends_in_conv)
        self.bn2 = nn.Identity() if ends_in_conv else nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.downsample = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, after, H / stride, W / stride)."""
        inner = self.relu1(self.bn1(self.conv1(features)))
        result: Tensor = self.relu2(self.bn2(self.conv2(inner)) + self.downsample(features))
        return result


def resnet_flatten(num_classes: int, channels: int = 1, image_size: int = 28, *, width: int = 16) -> nn.Sequential:
    """Return a stem and three residual blocks, flattened into one linear layer, as `flatten_head` makes of ResNet-34.

    The last block's second convolution has no normalisation after it; the sum and its ReLU stay, so that HiResCAM sums
    to the logit less the bias at ``layer3``.

    Args:
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels.
        width: Channels of the first block; of the second and third, two and four times as many.

    Returns:
        Images -> logits. Layers: ``conv1``, ``bn1``, ``relu``, ``layer1`` … ``layer3`` (the last convolution is
        ``layer3.conv2``), ``flatten``, ``fc``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    check_count(num_classes, "num_classes")
    check_count(image_size, "image_size", least=8)
    body = _stem(channels, width)
    body["layer1"] = Residual(width, width)
    body["layer2"] = Residual(width, 2 * width, stride=2)
    body["layer3"] = Residual(2 * width, 4 * width, stride=2, ends_in_conv=True)
    side = -(-image_size // 4)  # halved twice, each time rounded up
    body["flatten"] = nn.Flatten()
    body["fc"] = nn.Linear(4 * width * side**2, num_classes)
    return nn.Sequential(body)


def small_resnet18(num_classes: int, channels: int = 3, *, width: int = 16) -> nn.Sequential:
    """Return ResNet-18 for images of 28 to 64 pixels: a stem that keeps their size, and four stages of two blocks.

    Args:
        num_classes: Number of logits.
        channels: Of the images, which may have any size.
        width: Channels of the first stage, which double in each; ResNet-18 has 64, and 16 have 0.7 million weights.

    Returns:
        Images -> logits. Layers have torchvision's names: ``conv1``, ``bn1``, ``relu``, ``layer1.0`` … ``layer4.1``,
        ``avgpool``, ``flatten``, ``fc``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    check_count(num_classes, "num_classes")
    body = _stem(channels, width)
    before = width
    for stage in range(4):
        after = width << stage
        first = Residual(before, after, stride=2 if stage else 1)
        body[f"layer{stage + 1}"] = nn.Sequential(first, Residual(after, after))
        before = after
    body["avgpool"] = nn.AdaptiveAvgPool2d(1)
    body["flatten"] = nn.Flatten()
    body["fc"] = nn.Linear(before, num_classes)
    return nn.Sequential(body)


def _stem(channels: int, width: int) -> OrderedDict[str, nn.Module]:
    check_count(channels, "channels")
    check_count(width, "width")
    return OrderedDict(
        conv1=nn.Conv2d(channels, width, 3, padding=1, bias=False), bn1=nn.BatchNorm2d(width), relu=nn.ReLU()
    )
