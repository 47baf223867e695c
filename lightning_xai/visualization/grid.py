"""One picture of an epoch: images beside their heatmaps, with labels, predictions and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.visualization.channels import MOST_COLOURS, Channels
from lightning_xai.visualization.contours import (
    Boxes,
    boxes_by_image,
    contours_of_boxes,
    contours_of_masks,
    with_contours,
)
from lightning_xai.visualization.page import ColumnLegend, Page, PageColumn
from lightning_xai.visualization.pictures import (
    ChannelValues,
    as_pictures,
    check_shape_of_maps,
    intensity,
    said_where_blank,
    with_heat,
)

_SMALLEST_CELL, _SMALLEST_TEXT = 32, 12
_SMALLEST_FRACTION = 0.7  # of the cell that a whole multiple has to fill; below it a smooth enlargement looks better
_TEXT_FRACTION = 0.075  # size of the text in longer sides of a picture
_BAR_HEIGHT = 0.65  # height of a colour bar in sizes of the text
_WIDE_LINES_FROM = 112  # pixels of a picture's longer side from which lines of annotations are two pixels wide
_LEGEND_GRAY = 160
_OWN_SCALES = "each heatmap has its own scale"
_MOST_ROWS = 4  # above each other
_LARGER_TEXT = 1.5  # times, where more than one block is shrunk into a card
_LONGEST_CELL = 3  # cell sizes; the shorter side of a long image has half of one as far as this allows


def heatmap_grid(
    images: Tensor,
    heatmaps: Mapping[str, Tensor],
    *,
    captions: Sequence[str] | None = None,
    correct: Sequence[bool | None] | None = None,
    masks: Tensor | None = None,
    boxes: Boxes | None = None,
    mean: ChannelValues | None = None,
    std: ChannelValues | None = None,
    cell_size: int = 160,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Tensor:
    r"""Lay out images and their heatmaps: a row per image, a column for the image and one for every explainer.

    At most four rows stand above each other, more go into blocks beside them with larger text, so that the wide cards
    of trackers show them in a readable size.

    Every heatmap is drawn with its own scale, so colours compare places inside one map, not maps, as a line at the foot
    says; a legend under each column says which colour is which. A map without heat, a constant one and one that is not
    finite are marked as such. Text that does not fit is cut with an ellipsis.

    Args:
        images: Any real dtype, shape (N, C, H, W), N >= 1; how their range is read stands at :func:`as_pictures`.
        heatmaps: Explainer name -> floating point, shape (N, H, W), any range; at least one.
        captions: What stands left of each row, lines separated by newlines: label, prediction, confidence.
        correct: Whether each prediction is right: a green tick or a red cross beside the row; None for neither.
        masks: Annotated regions, boolean or numbers (above 0 is inside), shape (N, H, W), drawn as outlines.
        boxes: Annotated boxes ``x1, y1, x2, y2`` in pixels of the image; shapes as at :func:`boxed`.
        mean: What was subtracted when the images were normalised.
        std: What the images were divided by when they were normalised.
        cell_size: Longer side of a cell in pixels, at least 32; small images are enlarged by a whole number, and images
            that are longer than two squares get longer cells, at most three times as long.
        title: A line above everything, such as ``"epoch 3 · step 120"``.
        notes: Lines at the foot.

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
    _check(images, heatmaps, masks, cell_size)
    _check_lengths(len(images), captions=captions, correct=correct)
    image_height, image_width = images.shape[-2:]
    size = PictureSize(image_height, image_width, cell_size)
    pictures = size.resized_pictures(as_pictures(images, mean, std))
    contours = _contours(size, len(images), masks, boxes)
    num_blocks = -(-len(images) // _MOST_ROWS)
    text_size = max(_SMALLEST_TEXT, round(_TEXT_FRACTION * min(size.longer_side, cell_size)))
    text_size = text_size if num_blocks == 1 else round(_LARGER_TEXT * text_size)
    legend = None if contours is None else _legend_of_contours(text_size)
    columns = [PageColumn("image", _annotated(pictures, contours), legend)]
    for name, maps in heatmaps.items():
        heat = intensity(size.resized(maps.detach().cpu().float().unsqueeze(1)).squeeze(1))
        legend = _legend_of_heat(text_size, size.width, signed=bool((heat < 0).any()))
        drawn = _annotated(with_heat(pictures, heat), contours)
        columns.append(PageColumn(name, drawn, legend, said_where_blank(maps, heat)))
    if images.shape[1] > MOST_COLOURS:
        notes = [*notes, Channels().described(images.shape[1])]
    marks = () if correct is None else tuple(None if right is None else bool(right) for right in correct)
    return Page(columns, text_size, captions or (), marks, title or "", (_OWN_SCALES, *notes), num_blocks).drawn()


@dataclass(frozen=True)
class PictureSize:
    """The size at which images of one shape are drawn in cells that measure ``cell_size`` along the longer side.

    A whole multiple of the image that fills at least 0.7 of the cell is preferred, because every pixel then stays a
    sharp square (28 becomes 140, 64 becomes 128 for cells of 160); other images are resized smoothly to the cell. The
    cell of an image more than twice as long as wide is longer, so that half a ``cell_size`` is left for its shorter
    side: at most three times as long.

    Args:
        image_height: Pixels.
        image_width: Pixels.
        cell_size: Longer side of a cell in pixels.

    Example:
        >>> [PictureSize(*image, 160).width for image in ((28, 28), (64, 32), (224, 112), (100, 100), (100, 400))]
        [140, 64, 80, 160, 320]
    """

    image_height: int
    image_width: int
    cell_size: int

    @property
    def multiple(self) -> int | None:
        """The whole number every pixel is enlarged by, or None where the resizing is smooth."""
        longer = max(self.image_height, self.image_width)
        whole = self.longest // longer
        return whole if whole * longer >= _SMALLEST_FRACTION * self.longest else None

    @property
    def longest(self) -> int:
        """Pixels that the longer side may have."""
        sides = self.image_height, self.image_width
        for_half_a_cell = self.cell_size * max(sides) // (2 * min(sides))
        return min(max(self.cell_size, for_half_a_cell), _LONGEST_CELL * self.cell_size)

    @property
    def factor(self) -> float:
        """Pixels of the picture per pixel of the image."""
        return self.multiple or self.longest / max(self.image_height, self.image_width)

    @property
    def height(self) -> int:
        """Pixels of the picture from top to bottom."""
        return max(1, round(self.image_height * self.factor))

    @property
    def width(self) -> int:
        """Pixels of the picture from left to right."""
        return max(1, round(self.image_width * self.factor))

    @property
    def longer_side(self) -> int:
        """The larger of height and width."""
        return max(self.height, self.width)

    def resized(self, maps: Tensor) -> Tensor:
        """Resize float maps, shape (N, C, H, W), to (N, C, height, width), none leaving its range."""
        if self.multiple:
            return maps.repeat_interleave(self.multiple, dim=-2).repeat_interleave(self.multiple, dim=-1)
        low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
        shape = (self.height, self.width)
        resized = F.interpolate(maps, shape, mode="bicubic", antialias=True, align_corners=False)
        return resized.clamp(low, high)

    def resized_pictures(self, pictures: Tensor) -> Tensor:
        """Resize uint8 pictures, shape (N, H, W, 3)."""
        resized = self.resized(pictures.permute(0, 3, 1, 2).float())
        return resized.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def resized_masks(self, masks: Tensor) -> Tensor:
        """Resize masks, shape (N, H, W), by the nearest pixel: bool."""
        inside = (masks.detach().cpu() > 0).unsqueeze(1).float()
        return F.interpolate(inside, (self.height, self.width), mode="nearest-exact").squeeze(1) > 0


def _check(images: Tensor, heatmaps: Mapping[str, Tensor], masks: Tensor | None, cell_size: int) -> None:
    if cell_size < _SMALLEST_CELL:
        raise ValueError(f"Expected `cell_size` to be at least {_SMALLEST_CELL} pixels, but got {cell_size}.")
    if not heatmaps:
        raise ValueError("Expected `heatmaps` to hold at least one explainer's maps by name, but it is empty.")
    if images.ndim == 4 and not len(images):
        raise ValueError("Expected `images` to hold at least one image, but it is empty.")
    for name, maps in heatmaps.items():
        check_shape_of_maps(images, maps, f'heatmaps["{name}"]')
    if masks is not None:
        check_shape_of_maps(images, masks, "masks")


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


def _annotated(pictures: Tensor, contours: Tensor | None) -> Tensor:
    return pictures if contours is None else with_contours(pictures, contours)


def _legend_of_contours(text_size: int) -> ColumnLegend:
    side = text_size - 1
    gray = torch.full((1, side, side, 3), _LEGEND_GRAY, dtype=torch.uint8)
    return ColumnLegend("", with_contours(gray, contours_of_masks(torch.ones(1, side, side), 1))[0], "annotation")


def _legend_of_heat(text_size: int, picture_width: int, *, signed: bool) -> ColumnLegend:
    shades = torch.linspace(-1.0 if signed else 0.0, 1.0, max(3 * text_size, picture_width // 3))
    ramp = shades.expand(1, round(_BAR_HEIGHT * text_size), -1)
    gray = torch.full((*ramp.shape, 3), _LEGEND_GRAY, dtype=torch.uint8)
    before, after = ("−", "+") if signed else ("low", "high")
    return ColumnLegend(before, with_heat(gray, ramp)[0], after)
