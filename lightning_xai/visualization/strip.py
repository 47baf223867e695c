"""Small pictures beside each other in a figure, each with a caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.visualization.display import ChannelValues, displayed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_picture(axes: Axes, picture: Tensor, title: str = "", caption: str = "") -> None:
    """Show a picture, uint8 (H, W, 3), with a line above and lines below it."""
    axes.imshow(picture.numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.7")
    axes.set_title(title, fontsize="small")
    axes.set_xlabel(caption, fontsize="small")


def displayed_alike(images: Tensor, mean: ChannelValues | None = None, std: ChannelValues | None = None) -> Tensor:
    """Return versions of one image (n, C, H, W) as pictures, uint8 (n, H, W, 3), that can be compared: see `displayed`.

    An image whose values are stretched to be shown is stretched together with its versions.

    Example:
        >>> versions = torch.tensor([[[[-1.0, 1.0]]], [[[0.0, 0.0]]]])
        >>> displayed_alike(versions)[..., 0]
        tensor([[[  0, 255]],
        <BLANKLINE>
                [[128, 128]]], dtype=torch.uint8)
    """
    together = torch.cat(list(images), dim=1)[None]
    return torch.stack(displayed(together, mean, std)[0].chunk(len(images)))
