"""A white page of pictures in rows and columns, with a title, column names, captions and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.visualization.page_layout import PageLayout, font, shortened, text_width, wrapped

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_TEXT, _PALE_TEXT = (31, 35, 40), (87, 96, 106)
_PLATE, _PLATE_TEXT = (31, 35, 40), (255, 255, 255)
_RIGHT, _WRONG = (26, 127, 55), (207, 34, 46)
_WIDEST_CAPTION = 14  # text sizes


@dataclass(frozen=True)
class ColumnLegend:
    """What stands below a column of pictures: a small picture between two words.

    Args:
        before: Word left of the picture.
        picture: uint8, shape (h, w, 3).
        after: Word right of the picture.

    """

    before: str
    picture: Tensor
    after: str


@dataclass(frozen=True)
class PageColumn:
    """One column of a page.

    Args:
        name: Stands above the column.
        pictures: uint8, shape (N, h, w, 3), or a sequence of (h, w, 3), one per row.
        legend: Stands below the column.
        labels: Written on the pictures, one per row, empty for none; no entry for none at all.
        corner_labels: Likewise, smaller and in the lower left corner.

    """

    name: str
    pictures: Tensor | Sequence[Tensor]
    legend: ColumnLegend | None = None
    labels: Sequence[str] = ()
    corner_labels: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """Columns of pictures on a white page, each in the middle of a cell in which the largest has room.

    Args:
        columns: At least one, all with pictures of the same number, and those of a row of one size.
        text_size: Size of the captions in pixels; all distances follow from it.
        captions: One per row, lines separated by newlines; empty for none.
        correct: One per row, marked by a green or a red bar and sign, None for no mark; empty for none.
        title: Stands above everything; empty for none.
        notes: Stand at the foot of the page.
        legends: Stand above the notes, beside each other.
        num_blocks: Blocks of rows beside each other.

    """

    columns: Sequence[PageColumn]
    text_size: int = 12
    captions: Sequence[str] = ()
    correct: Sequence[bool | None] = ()
    title: str = ""
    notes: Sequence[str] = ()
    num_blocks: int = 1
    legends: Sequence[ColumnLegend] = ()

    @cached_property
    def layout(self) -> PageLayout:
        """Where everything stands."""
        pictures = self.columns[0].pictures
        layout = PageLayout(
            num_rows=len(pictures),
            num_columns=len(self.columns),
            picture_height=max(picture.shape[0] for picture in pictures),
            picture_width=max(picture.shape[1] for picture in pictures),
            text_size=self.text_size,
            caption_width=self._caption_width(),
            caption_lines=max((len(caption.splitlines()) for caption in self.captions), default=0),
            has_title=bool(self.title),
            has_legend=any(column.legend for column in self.columns),
            num_blocks=self.num_blocks,
        )
        bold = font(self.text_size, bold=True)
        header_lines = max(len(wrapped(column.name, bold, layout.column_width)) for column in self.columns)
        note_lines = len(self._lines_of_legends(layout)) + len(self._lines_of_notes(layout))
        return replace(layout, header_lines=header_lines, note_lines=note_lines)

    def drawn(self) -> Tensor:
        """Draw the page: uint8, shape (height, width, 3)."""
        import numpy as np
        from PIL.Image import fromarray
        from PIL.ImageDraw import Draw

        image = fromarray(self._pictures().numpy())
        pen = Draw(image)
        self._write_title(pen)
        for index, column in enumerate(self.columns):
            self._write_header(image, pen, index, column)
            self._write_labels(pen, index, column)
        for row in range(self.layout.num_rows):
            if self.correct:
                self._mark_row(pen, row)
            if self.captions:
                self._write_caption(pen, row)
        self._draw_legends(image, pen)
        self._write_notes(pen)
        return torch.from_numpy(np.array(image))

    def _write_header(self, image: Image, pen: ImageDraw, index: int, column: PageColumn) -> None:
        """Write name and legend of a column above each block."""
        for first_row in range(0, self.layout.num_rows, self.layout.rows_of_block):
            center = self.layout.column_center(index, first_row)
            self._write_name(pen, center, column.name)
            if column.legend is not None:
                self._draw_legend(image, pen, center, column.legend)

    @property
    def _indent(self) -> int:
        """From the left end of the caption panel to its text: the bar and the sign of right and wrong."""
        return 2 * self.text_size if self.correct else 0

    def _caption_width(self) -> int:
        lines = [line for caption in self.captions for line in caption.splitlines()]
        longest = max((text_width(line, font(self.text_size)) for line in lines), default=0)
        return self._indent + min(longest, _WIDEST_CAPTION * self.text_size)

    def _pictures(self) -> Tensor:
        layout = self.layout
        page = torch.full((layout.height, layout.width, 3), 255, dtype=torch.uint8)
        for index, column in enumerate(self.columns):
            for row, picture in enumerate(column.pictures):
                _paste(page, picture, layout.column_center(index, row), layout.row_center(row))
        return page

    def _write_title(self, pen: ImageDraw) -> None:
        layout, typeface = self.layout, font(round(1.25 * self.text_size), bold=True)
        text = shortened(self.title, typeface, layout.width - 2 * layout.margin)
        pen.text((layout.margin, layout.title_center), text, fill=_TEXT, font=typeface, anchor="lm")

    def _write_name(self, pen: ImageDraw, center: int, name: str) -> None:
        layout, bold = self.layout, font(self.text_size, bold=True)
        for lines_below, line in enumerate(reversed(wrapped(name, bold, layout.column_width))):
            middle = (center, layout.header_center - lines_below * layout.line)
            pen.text(middle, line, fill=_TEXT, font=bold, anchor="mm")

    def _draw_legend(self, image: Image, pen: ImageDraw, center: int, legend: ColumnLegend) -> None:
        left = center - sum(self._widths(self.layout, legend)) // 2
        self._draw_legend_at(image, pen, left, self.layout.legend_center, legend)

    def _draw_legend_at(self, image: Image, pen: ImageDraw, left: int, middle: int, legend: ColumnLegend) -> None:
        from PIL.Image import fromarray

        small, height = font(self.text_size - 1), legend.picture.shape[0]
        before, width, after = self._widths(self.layout, legend)
        image.paste(fromarray(legend.picture.numpy()), (left + before, middle - height // 2))
        pen.text((left, middle), legend.before, fill=_PALE_TEXT, font=small, anchor="lm")
        right = (left + before + width + after, middle)
        pen.text(right, legend.after, fill=_PALE_TEXT, font=small, anchor="rm")

    def _write_labels(self, pen: ImageDraw, index: int, column: PageColumn) -> None:
        for row, label in enumerate(column.labels):
            self._write_label(pen, row, index, label)
        for row, label in enumerate(column.corner_labels):
            self._write_corner_label(pen, row, index, label)

    def _widths(self, layout: PageLayout, legend: ColumnLegend) -> tuple[int, int, int]:
        """Return the widths of the word before, the picture, and the word after it, with the gaps between them."""
        small = font(self.text_size - 1)
        before, after = (text_width(word, small) + layout.gap if word else 0 for word in (legend.before, legend.after))
        return before, legend.picture.shape[1], after

    def _lines_of_legends(self, layout: PageLayout) -> list[list[ColumnLegend]]:
        """Return the legends at the foot line by line, as many beside each other as there is room for."""
        lines: list[list[ColumnLegend]] = []
        room, between = 0, 2 * layout.gap
        for legend in self.legends:
            needed = sum(self._widths(layout, legend)) + between
            if not lines or needed > room:
                lines.append([])
                room = layout.width - 2 * layout.margin + between
            lines[-1].append(legend)
            room -= needed
        return lines

    def _draw_legends(self, image: Image, pen: ImageDraw) -> None:
        layout = self.layout
        for index, line in enumerate(self._lines_of_legends(layout)):
            left = layout.margin
            for legend in line:
                middle = layout.first_note_center + index * layout.line
                self._draw_legend_at(image, pen, left, middle, legend)
                left += sum(self._widths(layout, legend)) + 2 * layout.gap

    def _write_label(self, pen: ImageDraw, row: int, index: int, label: str) -> None:
        if not label:
            return
        layout, typeface, pad = self.layout, font(self.text_size), self.text_size // 3
        middle = (layout.column_center(index, row), layout.row_center(row))
        text = shortened(label, typeface, layout.column_width - 2 * pad)
        left, top, right, bottom = pen.textbbox(middle, text, font=typeface, anchor="mm")
        pen.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=_PLATE)
        pen.text(middle, text, fill=_PLATE_TEXT, font=typeface, anchor="mm")

    def _write_corner_label(self, pen: ImageDraw, row: int, index: int, label: str) -> None:
        if not label:
            return
        layout, small, pad = self.layout, font(self.text_size - 2), self.text_size // 4
        height, width = self.columns[index].pictures[row].shape[:2]
        left, bottom = layout.column_center(index, row) - width // 2, layout.row_center(row) + (height + 1) // 2
        text = shortened(label, small, width - 2 * pad)
        at = (left + pad, bottom - pad)
        _, top, right, _ = pen.textbbox(at, text, font=small, anchor="lb")
        pen.rectangle((left, top - pad, right + pad, bottom - 1), fill=_PLATE)
        pen.text(at, text, fill=_PLATE_TEXT, font=small, anchor="lb")

    def _lines_of_notes(self, layout: PageLayout) -> list[str]:
        small, width = font(self.text_size - 1), layout.width - 2 * layout.margin
        return [line for note in self.notes for line in wrapped(note, small, width)]

    def _write_notes(self, pen: ImageDraw) -> None:
        layout, small = self.layout, font(self.text_size - 1)
        for index, line in enumerate(self._lines_of_notes(layout), start=len(self._lines_of_legends(layout))):
            start = (layout.margin, layout.first_note_center + index * layout.line)
            pen.text(start, line, fill=_PALE_TEXT, font=small, anchor="lm")

    def _mark_row(self, pen: ImageDraw, row: int) -> None:
        layout, center = self.layout, self.layout.row_center(row)
        if self.correct[row] is None:
            return
        sign, color = ("✓", _RIGHT) if self.correct[row] else ("✗", _WRONG)
        left, top = layout.margin + layout.indent(row), center - layout.picture_height // 2
        pen.rectangle((left, top, left + self.text_size // 4 - 1, top + layout.picture_height - 1), fill=color)
        pen.text((left + self.text_size, center), sign, fill=color, font=font(self.text_size), anchor="mm")

    def _write_caption(self, pen: ImageDraw, row: int) -> None:
        layout, center, typeface = self.layout, self.layout.row_center(row), font(self.text_size)
        left = layout.margin + layout.indent(row) + self._indent
        width = layout.caption_width - self._indent
        lines = self.captions[row].splitlines()
        for index, line in enumerate(lines):
            middle = center + (index - (len(lines) - 1) / 2) * layout.line
            pen.text((left, middle), shortened(line, typeface, width), fill=_TEXT, font=typeface, anchor="lm")


def _paste(page: Tensor, picture: Tensor, center_x: int, center_y: int) -> None:
    height, width = picture.shape[:2]
    top, left = center_y - height // 2, center_x - width // 2
    page[top : top + height, left : left + width] = picture
