"""One picture of an epoch: images beside their heatmaps, with labels, predictions and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lightning_xai.visualization.channels import MOST_COLOURS, Channels
from lightning_xai.visualization.contours import (
    Boxes,
    boxes_by_image,
    contours_of_boxes,
    contours_of_masks,
    with_contours,
    with_region,
)
from lightning_xai.visualization.page import ColumnLegend, Page, PageColumn
from lightning_xai.visualization.page_layout import PictureSize
from lightning_xai.visualization.pictures import (
    ChannelValues,
    as_pictures,
    check_shape_of_maps,
    in_one_batch,
    intensity,
    said_where_blank,
    with_heat,
)

Part = TypeVar("Part")

_SMALLEST_CELL, _SMALLEST_TEXT = 32, 12
_TEXT_FRACTION = 0.075  # size of the text in longer sides of a picture
_BAR_HEIGHT = 0.65  # height of a colour bar in sizes of the text
_WIDE_LINES_FROM = 112  # pixels of a picture's longer side from which lines of annotations are two pixels wide
_LEGEND_GRAY, _DARK_GRAY = 160, 70
_OWN_SCALES = "each heatmap has its own scale"
_MOST_ROWS = 4  # above each other
_LARGER_TEXT = 1.5  # times, where more than one block is shrunk into a card


def heatmap_grid(
    images: Tensor | Sequence[Tensor],
    heatmaps: Mapping[str, Tensor | Sequence[Tensor]],
    *,
    captions: Sequence[str] | None = None,
    correct: Sequence[bool | None] | None = None,
    masks: Tensor | Sequence[Tensor] | None = None,
    boxes: Boxes | None = None,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
    cell_size: int = 160,
    title: str | None = None,
    notes: Sequence[str] = (),
    regions: Mapping[str, Tensor | Sequence[Tensor]] | None = None,
) -> Tensor:
    r"""Lay out images and their heatmaps: a row per image, a column for the image and one for every explainer.

    At most four rows stand above each other, more go into blocks beside them with larger text, so that the wide cards
    of trackers show them in a readable size.

    Every heatmap is drawn with its own scale, so colours compare places inside one map, not maps, as a line at the foot
    says; a legend under each column says which colour is which. A map without heat, a constant one and one that is not
    finite are marked as such. Text that does not fit is cut with an ellipsis.

    Args:
        images: Any real dtype, shape (N, C, H, W), N >= 1, or a sequence of (C, H, W) that differ in size; how their
            range, that of all together, is read stands at :func:`as_pictures`.
        heatmaps: Explainer name -> floating point, shape (N, H, W), or a sequence of (H, W), any range; at least one.
        captions: What stands left of each row, lines separated by newlines: label, prediction, confidence.
        correct: Whether each prediction is right: a green tick or a red cross beside the row; None for neither.
        masks: Annotated regions, boolean or numbers (above 0 is inside), drawn as outlines; shapes as of heatmaps.
        boxes: Annotated boxes ``x1, y1, x2, y2`` in pixels of the image; shapes as at :func:`boxed`.
        mean: What was subtracted when the images were normalised.
        std: What the images were divided by when they were normalised.
        cell_size: Longer side of a cell in pixels, at least 32; small images are enlarged by a whole number, and images
            that are longer than two squares get longer cells, at most three times as long.
        title: A line above everything, such as ``"epoch 3 · step 120"``.
        notes: Lines at the foot.
        regions: Named areas, masks with shapes as of heatmaps: thin outlines, each region in a colour of its own, whose
            name stands at the foot.

    Returns:
        uint8, shape (height, width, 3), on the CPU.

    Raises:
        ValueError: If shapes or lengths do not match, there is nothing to draw, or ``cell_size`` is below 32.

    Example:
        >>> images, heatmaps = torch.rand(2, 3, 64, 64), {"grad_cam": torch.rand(2, 64, 64)}
        >>> grid = heatmap_grid(images, heatmaps, captions=["cat\n0.93", "dog\n0.51"], correct=[True, False])
        >>> grid.dtype, grid.shape[2]
        (torch.uint8, 3)
    """
    _check(images, heatmaps, masks, regions or {}, cell_size)
    _check_lengths(len(images), captions=captions, correct=correct)
    sizes = _sizes(images, masks, boxes, regions or {}, cell_size, mean, std)
    num_blocks = -(-len(images) // _MOST_ROWS)
    longer_side, width = max(one.size.longer_side for one in sizes), max(one.size.width for one in sizes)
    text_size = max(_SMALLEST_TEXT, round(_TEXT_FRACTION * min(longer_side, cell_size)))
    text_size = text_size if num_blocks == 1 else round(_LARGER_TEXT * text_size)
    has_contours = any(one.contours is not None for one in sizes)
    legend = _legend_of_contours(text_size) if has_contours else None
    columns = [PageColumn("image", _in_order(sizes, [[*one.annotated(one.pictures)] for one in sizes]), legend)]
    for name, maps in heatmaps.items():
        heats, signed = _heats(sizes, maps)
        legend = legend_of_heat(text_size, width, signed=signed)
        with_heats = list(zip(sizes, heats, strict=True))
        drawn = [[*one.annotated(with_heat(one.pictures, heat, signed=signed))] for one, heat in with_heats]
        blank = [said_where_blank(one.of(maps), heat) for one, heat in with_heats]
        columns.append(PageColumn(name, _in_order(sizes, drawn), legend, _in_order(sizes, blank)))
    num_channels = len(images[0])
    if num_channels > MOST_COLOURS:
        notes = [*notes, Channels().described(num_channels)]
    marks = () if correct is None else tuple(None if right is None else bool(right) for right in correct)
    legends = [_legend_of_region(name, number, text_size) for number, name in enumerate(regions or {})]
    notes = (_OWN_SCALES, *notes)
    return Page(columns, text_size, captions or (), marks, title or "", notes, num_blocks, legends).drawn()


@dataclass(frozen=True)
class _OneSize:
    """The images of one size in a grid.

    Args:
        places: Their rows.
        size: At which they are drawn.
        pictures: uint8 (n, h, w, 3) of that size.
        contours: Of their annotations; None where there is nothing to draw.
        regions: Contours of each named region.
    """

    places: list[int]
    size: PictureSize
    pictures: Tensor
    contours: Tensor | None
    regions: Sequence[Tensor] = ()

    def of(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the maps (n, H, W) of these images."""
        return torch.stack([maps[place].detach().cpu() for place in self.places])

    def annotated(self, pictures: Tensor) -> Tensor:
        """Draw the annotations on pictures of these images."""
        for number, contours in enumerate(self.regions):
            pictures = with_region(pictures, contours, number)
        return pictures if self.contours is None else with_contours(pictures, self.contours)


def _sizes(
    images: Tensor | Sequence[Tensor],
    masks: Tensor | Sequence[Tensor] | None,
    boxes: Boxes | None,
    regions: Mapping[str, Tensor | Sequence[Tensor]],
    cell_size: int,
    mean: ChannelValues | None,
    std: ChannelValues | None,
) -> list[_OneSize]:
    """Return the images by their size, as pictures of which all images together decided how their range is read."""
    pictures = as_pictures(in_one_batch(images), mean, std)
    places: dict[tuple[int, int], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault((image.shape[-2], image.shape[-1]), []).append(place)
    corners = None if boxes is None else boxes_by_image(boxes, len(images))
    sizes = []
    for (height, width), rows in places.items():
        size = PictureSize(height, width, cell_size)
        of_size = None if masks is None else torch.stack([masks[row] for row in rows])
        contours = _contours(size, len(rows), of_size, None if corners is None else [corners[row] for row in rows])
        of_regions = [
            contours_of_masks(size.resized_masks(torch.stack([area[row] for row in rows])), 1)
            for area in regions.values()
        ]
        drawn = size.resized_pictures(pictures[rows, :height, :width])
        sizes.append(_OneSize(rows, size, drawn, contours, of_regions))
    return sizes


def _heats(sizes: Sequence[_OneSize], maps: Tensor | Sequence[Tensor]) -> tuple[list[Tensor], bool]:
    """Return what is drawn of the maps of each size, and whether there are negative values in a column."""
    resized = [one.size.resized(one.of(maps).float().unsqueeze(1)).squeeze(1) for one in sizes]
    heats = [intensity(one) for one in resized]
    signed = any(bool((heat < 0).any()) for heat in heats)
    return [intensity(one, signed=signed) for one in resized] if signed else heats, signed


def _in_order(sizes: Sequence[_OneSize], parts: Sequence[Sequence[Part]]) -> list[Part]:
    """Return what belongs to each image, given by size, in the order of the rows."""
    places = [place for one in sizes for place in one.places]
    of_places = dict(zip(places, (one for part in parts for one in part), strict=True))
    return [of_places[place] for place in range(len(places))]


def _check(
    images: Tensor | Sequence[Tensor],
    heatmaps: Mapping[str, Tensor | Sequence[Tensor]],
    masks: Tensor | Sequence[Tensor] | None,
    regions: Mapping[str, Tensor | Sequence[Tensor]],
    cell_size: int,
) -> None:
    if cell_size < _SMALLEST_CELL:
        raise ValueError(f"Expected `cell_size` to be at least {_SMALLEST_CELL} pixels, but got {cell_size}.")
    if not heatmaps:
        raise ValueError("Expected `heatmaps` to hold at least one explainer's maps by name, but it is empty.")
    if (not isinstance(images, Tensor) or images.ndim == 4) and not len(images):
        raise ValueError("Expected `images` to hold at least one image, but it is empty.")
    named = {f'heatmaps["{name}"]': maps for name, maps in heatmaps.items()}
    named |= {f'regions["{name}"]': maps for name, maps in regions.items()}
    for name, maps in (named if masks is None else {**named, "masks": masks}).items():
        _check_maps(images, maps, name)


def _check_maps(images: Tensor | Sequence[Tensor], maps: Tensor | Sequence[Tensor], name: str) -> None:
    if isinstance(images, Tensor) and isinstance(maps, Tensor):
        check_shape_of_maps(images, maps, name)
        return
    shapes, expected = ([tuple(one.shape[-2:]) for one in many] for many in (maps, images))
    if shapes != expected or any(one.ndim != 2 for one in maps) or any(one.ndim != 3 for one in images):
        raise ValueError(
            f"Expected `{name}` to hold a map (H, W) for each of `images` (C, H, W), {expected}, but got {shapes}."
        )


def _check_lengths(num_images: int, **of_each_image: Sequence[str] | Sequence[bool | None] | None) -> None:
    for name, values in of_each_image.items():
        if values is not None and len(values) != num_images:
            raise ValueError(f"Expected `{name}` to have one entry per image, {num_images}, but got {len(values)}.")


def _contours(size: PictureSize, num_images: int, masks: Tensor | None, boxes: Boxes | None) -> Tensor | None:
    """Contours of all annotations in pixels of the pictures, boxes above masks; None where there is nothing to draw."""
    if masks is None and boxes is None:
        return None
    line_width = 2 if size.longer_side >= _WIDE_LINES_FROM else 1
    contours = contours_of_masks(size.resized_masks(masks), line_width) if masks is not None else None
    if boxes is not None:
        on_pictures = [corners * size.factor for corners in boxes_by_image(boxes, num_images)]
        of_boxes = contours_of_boxes(on_pictures, size.height, size.width, line_width)
        contours = of_boxes if contours is None else torch.where(of_boxes >= 0, of_boxes, contours)
    return contours if contours is not None and bool((contours >= 0).any()) else None


def _legend_of_contours(text_size: int) -> ColumnLegend:
    side = text_size - 1
    gray = torch.full((1, side, side, 3), _LEGEND_GRAY, dtype=torch.uint8)
    return ColumnLegend("", with_contours(gray, contours_of_masks(torch.ones(1, side, side), 1))[0], "annotation")


def _legend_of_region(name: str, number: int, text_size: int) -> ColumnLegend:
    side = 2 * text_size
    gray = torch.full((1, text_size - 1, side, 3), _DARK_GRAY, dtype=torch.uint8)
    contours = contours_of_masks(torch.ones(gray.shape[:3]), 2)
    return ColumnLegend("", with_region(gray, contours, number)[0], name)


def legend_of_heat(text_size: int, picture_width: int, *, signed: bool) -> ColumnLegend:
    """Return which colour is which, for below a column of heatmaps."""
    shades = torch.linspace(-1.0 if signed else 0.0, 1.0, max(3 * text_size, picture_width // 3))
    ramp = shades.expand(1, round(_BAR_HEIGHT * text_size), -1)
    gray = torch.full((*ramp.shape, 3), _LEGEND_GRAY, dtype=torch.uint8)
    before, after = ("−", "+") if signed else ("low", "high")
    return ColumnLegend(before, with_heat(gray, ramp)[0], after)
