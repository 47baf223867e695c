"""Rows of heatmaps over their images, with a title and a caption for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_xai.visualization.display import ChannelValues, displayed
from lightning_xai.visualization.intensity import intensity
from lightning_xai.visualization.overlay import painted
from lightning_xai.visualization.strip import draw_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL, _TEXT = 1.35, 0.27  # inches


def draw_rows(
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
        mean: See `displayed`.
        std: See `displayed`.
    """
    from matplotlib.figure import Figure

    count, columns, height, width = heatmaps.shape
    size = ((columns + 1) * (_CELL + 0.1), count * (_CELL * height / width + 2 * _TEXT))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(count, columns + 1, squeeze=False)
    for row, picture in enumerate(displayed(images, mean, std)):
        draw_picture(grid[row, 0], picture, "image")
        for column, heatmap in enumerate(heatmaps[row]):
            painting = painted(picture[None], intensity(heatmap[None]))[0]
            draw_picture(grid[row, column + 1], painting, titles[row][column], captions[row][column])
    return figure


def number(value: Tensor, sign: str = "") -> str:
    """Return two decimals, or what stands for an undefined value.

    Example:
        >>> import torch
        >>> number(torch.tensor(-0.254), "ρ = "), number(torch.tensor(torch.nan), "ρ = ")
        ('ρ = −0.25', 'undefined')
    """
    return "undefined" if bool(value.isnan()) else f"{sign}{float(value):.2f}".replace("-", "−")
