"""Small networks of plain convolutions: with a flat head, with pooling, with a classifier of several layers."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from lightning_xai._checks import check_count


def conv_flatten(
    num_classes: int, channels: int = 1, image_size: int = 28, *, last_relu: bool = False, width: int = 16
) -> nn.Sequential:
    """Return Conv–BN–ReLU–Pool–Conv–BN–ReLU–Conv[–ReLU]–Flatten–Linear.

    Explained at ``conv3``, or the ReLU after it, HiResCAM sums to the logit less the bias; Grad-CAM does not.

    Args:
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels.
        last_relu: Whether a ReLU follows the last convolution.
        width: Channels of the first convolution; the others have twice as many.

    Returns:
        Images (N, channels, image_size, image_size) -> logits (N, num_classes). Layers: ``conv1``, ``bn1``, ``relu1``,
        ``pool1``, ``conv2``, ``bn2``, ``relu2``, ``conv3``, ``relu3`` where there is one, ``flatten``, ``fc``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    _check(num_classes, channels, width)
    check_count(image_size, "image_size", least=2)
    body = _three_convolutions(channels, width)
    if last_relu:
        body["relu3"] = nn.ReLU()
    body["flatten"] = nn.Flatten()
    body["fc"] = nn.Linear(2 * width * (image_size // 2) ** 2, num_classes)
    return nn.Sequential(body)


def conv_gap(num_classes: int, channels: int = 1, *, width: int = 16) -> nn.Sequential:
    """Return Conv–BN–ReLU–Pool–Conv–BN–ReLU–Conv–GAP–Linear: CAM, Grad-CAM and HiResCAM of ``conv3`` are one map there.

    Args:
        num_classes: Number of logits.
        channels: Of the images, which may have any size.
        width: See `conv_flatten`.
    """
    _check(num_classes, channels, width)
    body = _three_convolutions(channels, width)
    body["pool"] = nn.AdaptiveAvgPool2d(1)
    body["flatten"] = nn.Flatten()
    body["fc"] = nn.Linear(2 * width, num_classes)
    return nn.Sequential(body)


def vgg_flatten(num_classes: int, channels: int = 1, image_size: int = 28, *, width: int = 16) -> nn.Sequential:
    """Return pairs of convolutions, halved twice by pooling, that end in Conv–Flatten–Linear: VGG in small.

    Args:
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels, at least 4.
        width: Channels of the first pair; of the second and third, two and four times as many.

    Returns:
        Images -> logits. Layers: ``features.0`` … ``features.16``, the last of which is a convolution without
        normalisation or ReLU, ``flatten``, ``fc``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    _check(num_classes, channels, width)
    check_count(image_size, "image_size", least=4)
    widths = (width, width, 2 * width, 2 * width, 4 * width)
    layers: list[nn.Module] = []
    before = channels
    for number, after in enumerate(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        if number in {1, 3}:
            layers.append(nn.MaxPool2d(2))
        before = after
    layers.append(nn.Conv2d(before, before, 3, padding=1))
    head = nn.Linear(before * (image_size // 4) ** 2, num_classes)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), fc=head))


def vgg_fc(num_classes: int, channels: int = 3, image_size: int = 64, *, width: int = 16) -> nn.Sequential:
    """Return convolutions and ReLUs without normalisation, and two linear layers, as in AlexNet and VGG.

    The gradient at the last convolution differs between places and images, so that methods of the CAM family, which are
    one on networks that end in pooling and a linear layer, differ here.

    Args:
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels, at least 8.
        width: Channels of the first pair of convolutions; of the second and third, two and four times as many.

    Returns:
        Images -> logits. Layers: ``features.0`` … ``features.14``, ``flatten``, ``classifier.0`` … ``classifier.3``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    _check(num_classes, channels, width)
    check_count(image_size, "image_size", least=8)
    layers: list[nn.Module] = []
    before = channels
    for after in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = after
    hidden = 8 * width
    classifier = nn.Sequential(
        nn.Linear(before * (image_size // 8) ** 2, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, num_classes)
    )
    network = nn.Sequential(OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), classifier=classifier))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return network


def mnist_cnn(num_classes: int = 10, channels: int = 1, image_size: int = 28) -> nn.Sequential:
    """Return three convolutions and two linear layers, as networks for MNIST have been taught for years.

    The paper that evaluates Grad-CAM's fidelity on MNIST calls its network "three-layer convolutional", followed by
    fully connected layers, and leaves the rest open: widths 32, 64 and 64, two poolings and 64 hidden units are ours.

    Args:
        num_classes: Number of logits.
        channels: Of the images.
        image_size: Side of the images in pixels, at least 4.

    Returns:
        Images -> logits. Layers: ``conv1``, ``relu1``, ``pool1``, ``conv2``, ``relu2``, ``pool2``, ``conv3``,
        ``relu3``, ``flatten``, ``fc1``, ``relu4``, ``fc2``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """
    _check(num_classes, channels, 1)
    check_count(image_size, "image_size", least=4)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(64, 64, 3, padding=1),
            relu3=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * (image_size // 4) ** 2, 64),
            relu4=nn.ReLU(),
            fc2=nn.Linear(64, num_classes),
        )
    )


def _three_convolutions(channels: int, width: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        conv1=nn.Conv2d(channels, width, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        bn2=nn.BatchNorm2d(2 * width),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(2 * width, 2 * width, 3, padding=1),
    )


def _check(num_classes: int, channels: int, width: int) -> None:
    for name, value in (("num_classes", num_classes), ("channels", channels), ("width", width)):
        check_count(value, name)
