"""A figure of heatmaps over their images, a row per image, with a title and a caption for each and a colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.visualization.pictures import (
    ChannelValues,
    as_pictures,
    intensity,
    said_where_blank,
    with_heat,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PICTURE_WIDTH, _TEXT_HEIGHT, _BAR_HEIGHT = 1.35, 0.27, 0.08  # inches
_BAR_WITH_TEXT = 0.6
_BAR_GRAY = 160
_PLATE = {"boxstyle": "round,pad=0.2", "facecolor": "0.15", "edgecolor": "none"}


def draw_heatmap_rows(
    images: Tensor,
    heatmaps: Tensor,
    titles: Sequence[Sequence[str]],
    captions: Sequence[Sequence[str]],
    *,
    quantities: Sequence[str] | None = None,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
) -> Figure:
    """Return a figure with a row per image: the image, then each of its heatmaps over it, every map in its own scale.

    All maps of a quantity have the same colours: those for signed values if one of them has a negative one. A colour
    bar below their columns says which.

    Args:
        images: (N, C, H, W).
        heatmaps: (N, K, H, W).
        titles: Above each of the K heatmaps of each image.
        captions: Below each of them; as many.
        quantities: What each of the K columns shows, columns of one quantity beside each other; heat in all if None.
        mean: See `as_pictures`.
        std: See `as_pictures`.
    """
    from matplotlib.figure import Figure

    num_rows, num_maps, height, width = heatmaps.shape
    row_height = _PICTURE_WIDTH * height / width + 2 * _TEXT_HEIGHT
    size = ((num_maps + 1) * (_PICTURE_WIDTH + 0.1), num_rows * row_height + _BAR_WITH_TEXT)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(num_rows + 1, num_maps + 1, height_ratios=[*[row_height] * num_rows, _BAR_HEIGHT])
    axes = [[figure.add_subplot(grid[row, column]) for column in range(num_maps + 1)] for row in range(num_rows)]
    pictures = as_pictures(images, mean, std)
    for row, picture in enumerate(pictures):
        draw_picture(axes[row][0], picture, "image")
    names = list(quantities or ["heat"] * num_maps)
    for quantity in dict.fromkeys(names):
        columns = [column for column, name in enumerate(names) if name == quantity]
        heat = intensity(heatmaps[:, columns].flatten(0, 1)).view(num_rows, len(columns), height, width)
        signed = bool((heat < 0).any())
        for place, column in enumerate(columns):
            hot = with_heat(pictures, heat[:, place], signed=signed)
            blank = said_where_blank(heatmaps[:, column], heat[:, place])
            for row in range(num_rows):
                draw_picture(axes[row][column + 1], hot[row], titles[row][column], captions[row][column], blank[row])
        below = figure.add_subplot(grid[num_rows, columns[0] + 1 : columns[-1] + 2])
        _draw_colour_bar(below, f"{quantity}, each map\nin its own scale", signed=signed)
    return figure


def draw_picture(axes: Axes, picture: Tensor, title: str = "", caption: str = "", label: str = "") -> None:
    """Draw a picture, uint8 (H, W, 3), with a line above, lines below, and a word on it."""
    axes.imshow(picture.numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("0.7")
    axes.set_title(title, fontsize="small")
    axes.set_xlabel(caption, fontsize="small")
    if label:
        middle = (0.5, 0.5)
        words = axes.text(*middle, label, transform=axes.transAxes, color="w", fontsize="x-small", bbox=_PLATE)
        words.set(ha="center", va="center")


def _draw_colour_bar(axes: Axes, text: str, *, signed: bool) -> None:
    """Draw the colours of heat over middle gray, from none (or the strongest against) to the strongest."""
    lowest = -1.0 if signed else 0.0
    heat = torch.linspace(lowest, 1.0, 256)[None, None]
    colors = with_heat(torch.full((1, 1, 256, 3), _BAR_GRAY, dtype=torch.uint8), heat, signed=signed)[0]
    axes.imshow(colors.numpy(), aspect="auto", extent=(lowest, 1.0, 0.0, 1.0))
    ticks, words = ([-1, 0, 1], ["−", "0", "+"]) if signed else ([0, 1], ["low", "high"])
    axes.set_yticks([])
    axes.set_xticks(ticks, words, fontsize="x-small")
    axes.set_xlabel(text, fontsize="x-small")


def two_decimals(value: Tensor, prefix: str = "") -> str:
    """Return a number with two decimals behind its prefix, or what stands for an undefined one.

    Example:
        >>> import torch
        >>> two_decimals(torch.tensor(-0.254), "ρ = "), two_decimals(torch.tensor(torch.nan), "ρ = ")
        ('ρ = −0.25', 'undefined')
    """
    return "undefined" if bool(value.isnan()) else f"{prefix}{float(value):.2f}".replace("-", "−")
