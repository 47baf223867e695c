"""Grad-CAM of other packages, where these are installed; each as its documentation says, resized to the images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Heatmaps = Callable[[], object]


def last_features(model: nn.Module) -> nn.Module:
    """Return the module whose output enters the global average pooling."""
    children = list(model.children())
    position = next(i for i, child in enumerate(children) if isinstance(child, nn.AdaptiveAvgPool2d))
    return children[position - 1]


def captum(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Heatmaps | None:
    try:
        from captum.attr import LayerGradCam
    except ModuleNotFoundError:
        return None
    method = LayerGradCam(model, layer)

    def heatmaps() -> Tensor:
        maps = method.attribute(images, target=target, relu_attributions=True)
        return F.interpolate(maps.detach(), size=images.shape[2:], mode="bilinear")

    return heatmaps


def pytorch_grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Heatmaps | None:
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return None
    targets = [ClassifierOutputTarget(index) for index in target.tolist()]

    def heatmaps() -> object:
        with GradCAM(model=model, target_layers=[layer]) as method:
            return method(input_tensor=images, targets=targets)

    return heatmaps


def torchcam(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Heatmaps | None:
    try:
        from torchcam.methods import GradCAM
    except ImportError:
        return None
    classes = target.tolist()

    def heatmaps() -> Tensor:
        with GradCAM(model, layer) as method:
            maps = method(classes, model(images))[0]
        return F.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear")

    return heatmaps


PEERS = {"captum LayerGradCam": captum, "pytorch-grad-cam GradCAM": pytorch_grad_cam, "torchcam GradCAM": torchcam}
