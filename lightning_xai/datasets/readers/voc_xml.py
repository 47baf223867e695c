"""Annotations in the XML of PASCAL VOC, which ILSVRC and many tools write, too."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree


class VocObject(NamedTuple):
    """An object in a picture.

    Attributes:
        name: Of its class.
        box: x0, y0, x1, y1 in pixels from 0, exclusive ends.
        is_difficult: Whether those who drew the box called it hard to recognise.
    """

    name: str
    box: tuple[float, float, float, float]
    is_difficult: bool = False


def read_voc_xml(path: Path, first_pixel: int = 1) -> list[VocObject]:
    """Return the objects of an annotation.

    Args:
        path: Of the file.
        first_pixel: What the first pixel is called: 1 in VOC, 0 in ILSVRC. Ends are included in both.

    Raises:
        ValueError: If it is no such file.
    """
    try:
        found = ElementTree.parse(path).getroot().iter("object")
        return [_object(one, first_pixel) for one in found]
    except (ElementTree.ParseError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"Expected {path} to be an annotation as VOC writes them, but it cannot be read: {error}."
        ) from error


def _object(element: ElementTree.Element, first_pixel: int) -> VocObject:
    box = element.find("bndbox")
    x0, y0, x1, y1 = (float(box.findtext(edge)) for edge in ("xmin", "ymin", "xmax", "ymax"))  # type: ignore[union-attr, arg-type]
    name = element.findtext("name")
    if name is None:
        raise ValueError("an object has no name")
    # an end that is included reaches to the next pixel's beginning
    corners = (x0 - first_pixel, y0 - first_pixel, x1 - first_pixel + 1, y1 - first_pixel + 1)
    return VocObject(name.strip(), corners, element.findtext("difficult", "0").strip() == "1")
