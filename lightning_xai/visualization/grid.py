"""One picture of an epoch: images beside their heatmaps, with labels, predictions and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_xai.visualization.cell import Cell
from lightning_xai.visualization.display import ChannelValues, displayed
from lightning_xai.visualization.intensity import intensity
from lightning_xai.visualization.outline import Boxes, boxes_of_each, ink_of_boxes, ink_of_masks, inked
from lightning_xai.visualization.overlay import check_maps, painted
from lightning_xai.visualization.sheet import Column, Legend, Sheet

_IMAGE_COLUMN = "image"
_SMALLEST_CELL, _SMALLEST_TEXT = 32, 12
_TEXT_SHARE = 0.075  # size of the text in longer sides of a picture
_BAR_HEIGHT = 0.65  # height of a colour bar in sizes of the text
_WIDE_LINES_FROM = 112  # pixels of a cell's longer side from which lines of annotations are two pixels wide
_LEGEND_GRAY = 160


def heatmap_grid(
    images: Tensor,
    heatmaps: Mapping[str, Tensor],
    *,
    captions: Sequence[str] | None = None,
    correct: Sequence[bool] | None = None,
    masks: Tensor | None = None,
    boxes: Boxes | None = None,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
    cell_size: int = 160,
    title: str | None = None,
) -> Tensor:
    r"""Lay out images and their heatmaps: a row per image, a column for the image and one for every explainer.

    Every heatmap is drawn with its own scale, so colours compare places inside one map, not maps; a legend under each
    column says which colour is which. Text that does not fit is cut with an ellipsis.

    Args:
        images: Any real dtype, shape (N, C, H, W), N >= 1; how their range is read stands at :func:`displayed`.
        heatmaps: Explainer name -> floating point, shape (N, H, W), any range; at least one.
        captions: What stands left of each row, lines separated by newlines: label, prediction, confidence.
        correct: Whether each prediction is right: a green tick or a red cross beside the row.
        masks: Annotated regions, boolean or numbers (above 0 is inside), shape (N, H, W), drawn as outlines.
        boxes: Annotated boxes ``x1, y1, x2, y2`` in pixels of the image; shapes as at :func:`boxed`.
        mean: What was subtracted when the images were normalised.
        std: What the images were divided by when they were normalised.
        cell_size: Longer side of a cell in pixels, at least 32; small images are enlarged by a whole number.
        title: A line above everything, such as ``"epoch 3 · step 120"``.

    Returns:
        uint8, shape (height, width, 3), on the CPU.

    Raises:
        ValueError: If shapes or lengths do not match, there is nothing to draw, or ``cell_size`` is below 32.

    Example:
        >>> import torch
        >>> images, heatmaps = torch.rand(2, 3, 64, 64), {"grad_cam": torch.rand(2, 64, 64)}
        >>> grid = heatmap_grid(images, heatmaps, captions=["cat\n0.93", "dog\n0.51"], correct=[True, False])
        >>> grid.dtype, grid.shape[2]
        (torch.uint8, 3)

    """
    _check(images, heatmaps, masks, cell_size)
    _check_rows(len(images), captions=captions, correct=correct)
    image_height, image_width = images.shape[-2:]
    cell = Cell(image_height, image_width, cell_size)
    pictures = cell.resized_pictures(displayed(images, mean, std))
    ink = _ink(cell, len(images), masks, boxes)
    text_size = max(_SMALLEST_TEXT, round(_TEXT_SHARE * max(cell.height, cell.width)))
    legend = _legend_of_lines(text_size) if bool((ink >= 0).any()) else None
    columns = [Column(_IMAGE_COLUMN, inked(pictures, ink), legend)]
    for name, maps in heatmaps.items():
        heat = intensity(cell.resized(maps.detach().cpu().float().unsqueeze(1)).squeeze(1))
        columns.append(Column(name, inked(painted(pictures, heat), ink), _legend_of_heat(heat, cell, text_size)))
    marks = tuple(bool(is_correct) for is_correct in correct) if correct is not None else ()
    return Sheet(columns, text_size, captions or (), marks, title or "").drawn()


def _check(images: Tensor, heatmaps: Mapping[str, Tensor], masks: Tensor | None, cell_size: int) -> None:
    if cell_size < _SMALLEST_CELL:
        raise ValueError(f"Expected `cell_size` to be at least {_SMALLEST_CELL} pixels, but got {cell_size}.")
    if not heatmaps:
        raise ValueError("Expected `heatmaps` to hold at least one explainer's maps by name, but it is empty.")
    if images.ndim == 4 and not len(images):
        raise ValueError("Expected `images` to hold at least one image, but it is empty.")
    for name, maps in heatmaps.items():
        check_maps(images, maps, f'heatmaps["{name}"]')
    if masks is not None:
        check_maps(images, masks, "masks")


def _check_rows(num_images: int, **per_row: Sequence[str] | Sequence[bool] | None) -> None:
    for name, values in per_row.items():
        if values is not None and len(values) != num_images:
            raise ValueError(f"Expected `{name}` to have one entry per image, {num_images}, but got {len(values)}.")


def _ink(cell: Cell, num_images: int, masks: Tensor | None, boxes: Boxes | None) -> Tensor:
    """Lines of all annotations in pixels of the cell."""
    width = 2 if max(cell.height, cell.width) >= _WIDE_LINES_FROM else 1
    on_cell = [corners * cell.factor for corners in boxes_of_each(boxes, num_images)] if boxes is not None else []
    ink = ink_of_boxes(on_cell or [torch.zeros(0, 4)] * num_images, cell.height, cell.width, width)
    if masks is None:
        return ink
    ink_of_regions = ink_of_masks(cell.resized_masks(masks), width)
    return torch.where(ink >= 0, ink, ink_of_regions)


def _legend_of_lines(text_size: int) -> Legend:
    side = text_size - 1
    gray = torch.full((1, side, side, 3), _LEGEND_GRAY, dtype=torch.uint8)
    return Legend("", inked(gray, ink_of_masks(torch.ones(1, side, side), 1))[0], "annotation")


def _legend_of_heat(heat: Tensor, cell: Cell, text_size: int) -> Legend:
    signed = bool((heat < 0).any())
    shades = torch.linspace(-1.0 if signed else 0.0, 1.0, max(3 * text_size, cell.width // 3))
    ramp = shades.expand(1, round(_BAR_HEIGHT * text_size), -1)
    gray = torch.full((*ramp.shape, 3), _LEGEND_GRAY, dtype=torch.uint8)
    before, after = ("−", "+") if signed else ("low", "high")
    return Legend(before, painted(gray, ramp)[0], after)
