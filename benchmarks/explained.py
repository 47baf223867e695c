"""A model with images and the layer whose maps Grad-CAM reads, and those maps as captum makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

Cam = Callable[["Explained"], Tensor]
"""Returns heatmaps (N, side, side)."""


@dataclass(frozen=True)
class Explained:
    """What is explained.

    Attributes:
        model: In eval mode.
        layer: Its module whose output (N, C, h, w) Grad-CAM reads.
        images: (N, 3, side, side).
        target: (N,).
    """

    model: nn.Module
    layer: nn.Module
    images: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, rows: slice) -> Explained:
        """Return the same with some of the images."""
        return replace(self, images=self.images[rows], target=self.target[rows])

    def of(self, images: Tensor) -> Explained:
        """Return the same with other images, as many of each one as there are more."""
        return replace(self, images=images, target=self.target.repeat_interleave(len(images) // len(self)))


def captum_cam(explained: Explained) -> Tensor:
    """Return captum's maps, resized as its documentation does."""
    from captum.attr import LayerGradCam

    method = LayerGradCam(explained.model, explained.layer)
    maps = method.attribute(explained.images, target=explained.target, relu_attributions=True)
    return F.interpolate(maps.detach(), size=explained.images.shape[2:], mode="bilinear")[:, 0]
