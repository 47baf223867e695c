"""Where everything stands on a page of pictures, and text that fits there.

The typeface is installed wherever matplotlib is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

_ELLIPSIS = "…"


@dataclass(frozen=True)
class PageLayout:
    """Positions on a page of pictures in rows and columns, in pixels; all distances follow from the size of the text.

    Rows may stand in several blocks beside each other, each with all columns: the first rows in the first block.

    Args:
        num_rows: Rows of pictures.
        num_columns: Columns of pictures.
        picture_height: Height of the highest picture.
        picture_width: Width of the widest picture.
        text_size: Size of the captions.
        caption_width: Space for the captions left of the pictures; 0 for none.
        caption_lines: Lines of the longest caption; a row is at least as high.
        header_lines: Lines of the longest column name.
        has_title: Whether a line stands above everything.
        has_legend: Whether a line stands below the columns.
        note_lines: Lines at the foot of the page.
        num_blocks: Blocks of rows.

    """

    num_rows: int
    num_columns: int
    picture_height: int
    picture_width: int
    text_size: int = 12
    caption_width: int = 0
    caption_lines: int = 0
    header_lines: int = 1
    has_title: bool = False
    has_legend: bool = False
    note_lines: int = 0
    num_blocks: int = 1

    @property
    def margin(self) -> int:
        """Between the edge of the page and what stands on it."""
        return round(1.2 * self.text_size)

    @property
    def gap(self) -> int:
        """Between neighbouring pictures."""
        return round(0.6 * self.text_size)

    @property
    def line(self) -> int:
        """From one line of a caption to the next."""
        return round(1.45 * self.text_size)

    @property
    def column_width(self) -> int:
        """Width of a column: its pictures, or space for a name of moderate length above narrow ones."""
        return max(self.picture_width, 8 * self.text_size)

    @property
    def row_height(self) -> int:
        """Height of a row: its pictures, or its caption where that is higher."""
        return max(self.picture_height, self.caption_lines * self.line)

    @property
    def rows_of_block(self) -> int:
        """Rows above each other."""
        return -(-self.num_rows // self.num_blocks)

    @property
    def left(self) -> int:
        """Where the first column begins."""
        return self.margin + (self.caption_width + 2 * self.gap if self.caption_width else 0)

    @property
    def title_center(self) -> int:
        """Height at which the title stands."""
        return self.margin + self.line // 2

    @property
    def header_center(self) -> int:
        """Height at which the last lines of the column names stand."""
        lines_above = (2 if self.has_title else 0) + self.header_lines - 1
        return self.margin + self.line // 2 + lines_above * self.line

    @property
    def top(self) -> int:
        """Where the first row begins."""
        return self.header_center + self.line // 2 + self.gap

    @property
    def legend_center(self) -> int:
        """Height at which the legends stand."""
        return self.bottom + self.gap + self.line // 2

    @property
    def bottom(self) -> int:
        """Where the last row ends."""
        return self.top + self.rows_of_block * self.row_height + (self.rows_of_block - 1) * self.gap

    @property
    def first_note_center(self) -> int:
        """Height at which the first line at the foot of the page stands."""
        return self.bottom + (self.gap + self.line if self.has_legend else 0) + self.gap + self.line // 2

    @property
    def height(self) -> int:
        """Height of the page."""
        legend = self.gap + self.line if self.has_legend else 0
        notes = self.gap + self.note_lines * self.line if self.note_lines else 0
        return self.bottom + legend + notes + self.margin

    @property
    def width(self) -> int:
        """Width of the page."""
        last = self.column_center(self.num_columns - 1, self.num_rows - 1)
        return last - self.column_width // 2 + self.column_width + self.margin

    def indent(self, row: int = 0) -> int:
        """How far right the block of a row begins."""
        columns = self.num_columns * self.column_width + (self.num_columns - 1) * self.gap
        between = 3 * self.gap
        return row // self.rows_of_block * (self.left - self.margin + columns + between)

    def column_center(self, column: int, row: int = 0) -> int:
        """Where the middle of a column is, from the left, in the block of a row."""
        return self.indent(row) + self.left + column * (self.column_width + self.gap) + self.column_width // 2

    def row_center(self, row: int) -> int:
        """Where the middle of a row is, from the top."""
        return self.top + row % self.rows_of_block * (self.row_height + self.gap) + self.row_height // 2


@cache
def font(size: int, *, bold: bool = False) -> Font:
    """Load DejaVu Sans as matplotlib ships it, or what Pillow itself carries where the file is missing."""
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(file, size) if file.is_file() else ImageFont.load_default(size)


def text_width(text: str, typeface: Font) -> int:
    """Measure a line of text in pixels, rounded up."""
    return int(-(-typeface.getlength(text) // 1))


def wrapped(text: str, typeface: Font, width: int) -> list[str]:
    """Break a name that is too long for one line into two, after a space, underscore, slash or hyphen.

    Example:
        >>> wrapped("integrated_gradients", font(12), 100)
        ['integrated_', 'gradients']

    """
    line = " ".join(text.split())
    ends = [index for index, letter in enumerate(line, start=1) if letter in " _/-" and index < len(line)]
    fitting = [end for end in ends if text_width(line[:end].rstrip(), typeface) <= width]
    if text_width(line, typeface) <= width or not fitting:
        return [shortened(line, typeface, width)]
    return [line[: fitting[-1]].rstrip(), shortened(line[fitting[-1] :], typeface, width)]


def shortened(text: str, typeface: Font, width: int) -> str:
    """Cut a line so that it fits into ``width`` pixels, an ellipsis in place of what was cut.

    Example:
        >>> shortened("West Highland white terrier", font(12), 100)
        'West Highland…'
        >>> shortened("cat", font(12), 100)
        'cat'

    """
    line = " ".join(text.split())
    if text_width(line, typeface) <= width:
        return line
    shortest, longest = 0, len(line)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        fits = text_width(line[:middle].rstrip() + _ELLIPSIS, typeface) <= width
        shortest, longest = (middle, longest) if fits else (shortest, middle - 1)
    return line[:shortest].rstrip() + _ELLIPSIS


_SMALLEST_FRACTION = 0.7  # of the cell that a whole multiple has to fill; below it a smooth enlargement looks better
_LONGEST_CELL = 3  # cell sizes; the shorter side of a long image has half of one as far as this allows


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
