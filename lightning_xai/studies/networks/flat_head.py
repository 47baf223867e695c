"""Networks of torchvision whose head sees where each feature stands: Conv – Flatten – Linear."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lightning_xai._checks import check_choice, check_count

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_VGGS = ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn")

LAST_CONVOLUTIONS = {
    "resnet18": "layer4.1.conv2",
    "resnet34": "layer4.2.conv2",
    "resnet50": "layer4.2.conv3",
    "resnet101": "layer4.2.conv3",
    "resnet152": "layer4.2.conv3",
    "vgg11": "features.18",
    "vgg11_bn": "features.25",
    "vgg13": "features.22",
    "vgg13_bn": "features.31",
    "vgg16": "features.28",
    "vgg16_bn": "features.40",
    "vgg19": "features.34",
    "vgg19_bn": "features.49",
}
"""Network of `flatten_head` -> its last convolution, which no normalisation follows."""


def flatten_head(name: str, num_classes: int, image_size: int = 224, weights: str | None = None) -> nn.Sequential:
    """Return a network of torchvision, its last convolution flattened into one linear layer.

    HiResCAM of the features before ``flatten`` is exact there: without its ReLU it sums to the logit less the bias, and
    Grad-CAM does not. Global average pooling is gone, and so is what stood between the last convolution and the head:

    - VGG: the last ReLU and max pooling (and normalisation, of those that have it).
    - ResNet-18 and -34: the normalisation of the last block's second convolution; the sum with what skips it and the
      ReLU after that stay.
    - ResNet-50 and deeper: the normalisation of the last block's third convolution and the ReLU after the sum.

    Layers have torchvision's names: ``conv1``, ``layer1`` … ``layer4`` or ``features.0`` …; then ``flatten``, ``fc``.

    Source: the thesis that compares Grad-CAM with HiResCAM on medical images; it says which layers go, not which of
    the three ReLUs of ResNet-50's last block, which are one module in torchvision: here the last one.

    Args:
        name: ``"resnet18"`` to ``"resnet152"``, or ``"vgg11"`` to ``"vgg19"``, also with ``"_bn"``.
        num_classes: Number of logits.
        image_size: Side of the images in pixels, at least 32: the linear layer fits no other.
        weights: Of torchvision, such as ``"IMAGENET1K_V1"`` or ``"DEFAULT"``, which it downloads; random if None. The
            linear layer is new in any case.

    Returns:
        Images (N, 3, image_size, image_size) -> logits (N, num_classes).

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the network is none of these, or an argument is out of range.
    """
    check_choice(name, (*_RESNETS, *_VGGS), "name")
    check_count(num_classes, "num_classes")
    check_count(image_size, "image_size", least=32)
    from torchvision.models import get_model

    whole = get_model(name, weights=weights)
    build: Callable[[Any, int, int], nn.Sequential] = _of_resnet if name in _RESNETS else _of_vgg
    return build(whole, num_classes, image_size)


def _of_vgg(whole: Any, num_classes: int, image_size: int) -> nn.Sequential:
    layers = list(whole.features)
    while not isinstance(layers[-1], nn.Conv2d):
        layers.pop()
    side = image_size
    for layer in layers:
        side = side // 2 if isinstance(layer, nn.MaxPool2d) else side
    return _with_head(OrderedDict(features=nn.Sequential(*layers)), layers[-1].out_channels * side**2, num_classes)


def _of_resnet(whole: Any, num_classes: int, image_size: int) -> nn.Sequential:
    last = whole.layer4[-1]
    whole.layer4[-1] = _BottleneckWithoutEnd(last) if hasattr(last, "conv3") else _BasicBlockWithoutEnd(last)
    body = OrderedDict((name, layer) for name, layer in whole.named_children() if name not in {"avgpool", "fc"})
    side = image_size
    for _ in range(5):
        side = -(-side // 2)
    return _with_head(body, whole.fc.in_features * side**2, num_classes)


def _with_head(body: OrderedDict[str, nn.Module], num_features: int, num_classes: int) -> nn.Sequential:
    body["flatten"] = nn.Flatten()
    body["fc"] = nn.Linear(num_features, num_classes)
    return nn.Sequential(body)


class _BasicBlockWithoutEnd(nn.Module):
    """Torchvision's basic block without its last normalisation; layers keep their names.

    Nothing is added in place: that would overwrite the output of the last convolution, which is to be explained.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.conv1, self.bn1 = block.conv1, block.bn1
        self.conv2 = block.conv2
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        inner = self.relu1(self.bn1(self.conv1(features)))
        result: Tensor = self.relu2(self.conv2(inner) + features)
        return result


class _BottleneckWithoutEnd(nn.Module):
    """Torchvision's bottleneck block without its last normalisation and its last ReLU; layers keep their names."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.conv1, self.bn1 = block.conv1, block.bn1
        self.conv2, self.bn2 = block.conv2, block.bn2
        self.conv3 = block.conv3
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        inner = self.relu1(self.bn1(self.conv1(features)))
        inner = self.relu2(self.bn2(self.conv2(inner)))
        result: Tensor = self.conv3(inner) + features
        return result
