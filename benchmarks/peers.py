"""Class activation maps of other packages, where these are installed: as documented, resized to the images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from typing import Any

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


def pytorch_grad_cam_of(
    name: str, model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor, batch_size: int | None = None
) -> Heatmaps | None:
    """Return the method called ``name``, which forwards ``batch_size`` images at a time where it forwards many."""
    try:
        import pytorch_grad_cam as package
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return None
    targets = [ClassifierOutputTarget(index) for index in target.tolist()]

    def heatmaps() -> object:
        with getattr(package, name)(model=model, target_layers=[layer]) as method, redirect_stderr(StringIO()):
            if batch_size is not None:
                method.batch_size = batch_size
            return method(input_tensor=images, targets=targets)

    return heatmaps


def torchcam_of(
    name: str, model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor, **settings: Any
) -> Heatmaps | None:
    """Return the method called ``name``."""
    try:
        from torchcam import methods
    except ImportError:
        return None
    classes = target.tolist()

    def heatmaps() -> Tensor:
        with getattr(methods, name)(model, layer, **settings) as method:
            maps = method(classes, model(images))[0]
        return F.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear")

    return heatmaps


PEERS = {
    "captum LayerGradCam": captum,
    "pytorch-grad-cam GradCAM": partial(pytorch_grad_cam_of, "GradCAM"),
    "torchcam GradCAM": partial(torchcam_of, "GradCAM"),
}
