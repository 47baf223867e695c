"""A figure of heatmaps over their images, a row per image, with a title and a caption for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_xai.visualization.pictures import ChannelValues, as_pictures, intensity, with_heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PICTURE_WIDTH, _TEXT_HEIGHT = 1.35, 0.27  # inches


def draw_heatmap_rows(
    images: Tensor,
    heatmaps: Tensor,
    titles: Sequence[Sequence[str]],
    captions: Sequence[Sequence[str]],
    *,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Return a figure with a row per image: the image, then each of its heatmaps over it, every map in its own scale.

    Args:
        images: (N, C, H, W).
        heatmaps: (N, K, H, W).
        titles: Above each of the K heatmaps of each image.
        captions: Below each of them; as many.
        mean: See `as_pictures`.
        std: See `as_pictures`.
    """
    from matplotlib.figure import Figure

    num_rows, num_maps, height, width = heatmaps.shape
    row_height = _PICTURE_WIDTH * height / width + 2 * _TEXT_HEIGHT
    figure = Figure(figsize=((num_maps + 1) * (_PICTURE_WIDTH + 0.1), num_rows * row_height), layout="constrained")
    axes = figure.subplots(num_rows, num_maps + 1, squeeze=False)
    for row, picture in enumerate(as_pictures(images, mean, std)):
        draw_picture(axes[row, 0], picture, "image")
        for index, heatmap in enumerate(heatmaps[row]):
            hot = with_heat(picture[None], intensity(heatmap[None]))[0]
            draw_picture(axes[row, index + 1], hot, titles[row][index], captions[row][index])
    return figure


def draw_picture(axes: Axes, picture: Tensor, title: str = "", caption: str = "") -> None:
    """Draw a picture, uint8 (H, W, 3), with a line above and lines below it."""
    axes.imshow(picture.numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.7")
    axes.set_title(title, fontsize="small")
    axes.set_xlabel(caption, fontsize="small")


def two_decimals(value: Tensor, prefix: str = "") -> str:
    """Return a number with two decimals behind its prefix, or what stands for an undefined one.

    Example:
        >>> import torch
        >>> two_decimals(torch.tensor(-0.254), "ρ = "), two_decimals(torch.tensor(torch.nan), "ρ = ")
        ('ρ = −0.25', 'undefined')
    """
    return "undefined" if bool(value.isnan()) else f"{prefix}{float(value):.2f}".replace("-", "−")
