"""Text on pictures: one typeface that is installed wherever matplotlib is, and lines that always fit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

_ELLIPSIS = "…"


@cache
def font(size: int, *, bold: bool = False) -> Font:
    """Load DejaVu Sans as matplotlib ships it, or what Pillow itself carries where the file is missing."""
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    return ImageFont.truetype(file, size) if file.is_file() else ImageFont.load_default(size)


def width_of(text: str, typeface: Font) -> int:
    """Measure a line of text in pixels, rounded up."""
    return int(-(-typeface.getlength(text) // 1))


def broken(text: str, typeface: Font, width: int) -> list[str]:
    """Break a name that is too long for one line into two, after a space, underscore, slash or hyphen.

    Example:
        >>> broken("integrated_gradients", font(12), 100)
        ['integrated_', 'gradients']

    """
    line = " ".join(text.split())
    ends = [index for index, letter in enumerate(line, start=1) if letter in " _/-" and index < len(line)]
    fitting = [end for end in ends if width_of(line[:end].rstrip(), typeface) <= width]
    if width_of(line, typeface) <= width or not fitting:
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
    if width_of(line, typeface) <= width:
        return line
    shortest, longest = 0, len(line)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        fits = width_of(line[:middle].rstrip() + _ELLIPSIS, typeface) <= width
        shortest, longest = (middle, longest) if fits else (shortest, middle - 1)
    return line[:shortest].rstrip() + _ELLIPSIS
