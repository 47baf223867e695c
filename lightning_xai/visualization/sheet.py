"""A white page of pictures in rows and columns, with a title, column names, captions and legends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.visualization.layout import Layout
from lightning_xai.visualization.lettering import broken, font, shortened, width_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_INK, _PALE_INK = (31, 35, 40), (87, 96, 106)
_RIGHT, _WRONG = (26, 127, 55), (207, 34, 46)
_WIDEST_CAPTION = 14  # text sizes


@dataclass(frozen=True)
class Legend:
    """What stands below a column: a small picture between two words.

    Args:
        before: Word left of the picture.
        picture: uint8, shape (h, w, 3).
        after: Word right of the picture.

    """

    before: str
    picture: Tensor
    after: str


@dataclass(frozen=True)
class Column:
    """One column of a sheet.

    Args:
        name: Stands above the column.
        pictures: uint8, shape (N, h, w, 3), one per row.
        legend: Stands below the column.

    """

    name: str
    pictures: Tensor
    legend: Legend | None = None


@dataclass(frozen=True)
class Sheet:
    """Columns of pictures of one size on a white page.

    Args:
        columns: At least one, all with pictures of the same number and size.
        text_size: Size of the captions in pixels; all distances follow from it.
        captions: One per row, lines separated by newlines; empty for none.
        correct: One per row, marked by a green or a red bar and sign; empty for none.
        title: Stands above everything; empty for none.

    """

    columns: Sequence[Column]
    text_size: int = 12
    captions: Sequence[str] = ()
    correct: Sequence[bool] = ()
    title: str = ""

    @cached_property
    def layout(self) -> Layout:
        """Where everything stands."""
        num_rows, height, width = self.columns[0].pictures.shape[:3]
        layout = Layout(
            num_rows=num_rows,
            num_columns=len(self.columns),
            picture_height=height,
            picture_width=width,
            text_size=self.text_size,
            caption_width=self._caption_width(),
            caption_lines=max((len(caption.splitlines()) for caption in self.captions), default=0),
            has_title=bool(self.title),
            has_legend=any(column.legend for column in self.columns),
        )
        names = [broken(column.name, font(self.text_size, bold=True), layout.column_width) for column in self.columns]
        return replace(layout, header_lines=max(map(len, names)))

    def drawn(self) -> Tensor:
        """Draw the page: uint8, shape (height, width, 3)."""
        import numpy as np
        from PIL.Image import fromarray
        from PIL.ImageDraw import Draw

        image = fromarray(self._pictures().numpy())
        pen = Draw(image)
        self._write_title(pen)
        for index, column in enumerate(self.columns):
            self._write_name(pen, index, column.name)
            if column.legend is not None:
                self._draw_legend(image, pen, index, column.legend)
        for row in range(self.layout.num_rows):
            self._write_beside_row(pen, row)
        return torch.from_numpy(np.array(image))

    @property
    def _indent(self) -> int:
        """From the left end of the caption panel to its text: the bar and the sign of right and wrong."""
        return 2 * self.text_size if self.correct else 0

    def _caption_width(self) -> int:
        lines = [line for caption in self.captions for line in caption.splitlines()]
        longest = max((width_of(line, font(self.text_size)) for line in lines), default=0)
        return self._indent + min(longest, _WIDEST_CAPTION * self.text_size)

    def _pictures(self) -> Tensor:
        at = self.layout
        page = torch.full((at.height, at.width, 3), 255, dtype=torch.uint8)
        for index, column in enumerate(self.columns):
            for row, picture in enumerate(column.pictures):
                _paste(page, picture, at.column_center(index), at.row_center(row))
        return page

    def _write_title(self, pen: ImageDraw) -> None:
        at, typeface = self.layout, font(round(1.25 * self.text_size), bold=True)
        text = shortened(self.title, typeface, at.width - 2 * at.margin)
        pen.text((at.margin, at.title_center), text, fill=_INK, font=typeface, anchor="lm")

    def _write_name(self, pen: ImageDraw, index: int, name: str) -> None:
        at, bold = self.layout, font(self.text_size, bold=True)
        for number, line in enumerate(reversed(broken(name, bold, at.column_width))):
            middle = (at.column_center(index), at.header_center - number * at.line)
            pen.text(middle, line, fill=_INK, font=bold, anchor="mm")

    def _draw_legend(self, image: Image, pen: ImageDraw, index: int, legend: Legend) -> None:
        from PIL.Image import fromarray

        at, small = self.layout, font(self.text_size - 1)
        height, width = legend.picture.shape[:2]
        before, after = (width_of(word, small) + at.gap if word else 0 for word in (legend.before, legend.after))
        left = at.column_center(index) - (before + width + after) // 2
        image.paste(fromarray(legend.picture.numpy()), (left + before, at.legend_center - height // 2))
        pen.text((left, at.legend_center), legend.before, fill=_PALE_INK, font=small, anchor="lm")
        right = (left + before + width + after, at.legend_center)
        pen.text(right, legend.after, fill=_PALE_INK, font=small, anchor="rm")

    def _write_beside_row(self, pen: ImageDraw, row: int) -> None:
        at, center, typeface = self.layout, self.layout.row_center(row), font(self.text_size)
        if self.correct:
            sign, color = ("✓", _RIGHT) if self.correct[row] else ("✗", _WRONG)
            top = center - at.picture_height // 2
            pen.rectangle(
                (at.margin, top, at.margin + self.text_size // 4 - 1, top + at.picture_height - 1), fill=color
            )
            pen.text((at.margin + self.text_size, center), sign, fill=color, font=typeface, anchor="mm")
        lines = self.captions[row].splitlines() if self.captions else []
        left, width = at.margin + self._indent, at.caption_width - self._indent
        for number, line in enumerate(lines):
            middle = center + (number - (len(lines) - 1) / 2) * at.line
            pen.text((left, middle), shortened(line, typeface, width), fill=_INK, font=typeface, anchor="lm")


def _paste(page: Tensor, picture: Tensor, center_x: int, center_y: int) -> None:
    height, width = picture.shape[:2]
    top, left = center_y - height // 2, center_x - width // 2
    page[top : top + height, left : left + width] = picture
