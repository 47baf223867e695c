"""Annotated regions drawn on pictures, as lines that are seen on any background."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Boxes = Tensor | Sequence[Tensor]

_NO_CONTOUR, _BLACK, _WHITE = -1, 0, 255
_COLOURS = ((0, 229, 255), (80, 255, 80), (200, 140, 255), (70, 130, 255))  # none that strong heat has
_DASH, _GAP = 8, 4  # pixels


def outlined(pictures: Tensor, masks: Tensor, *, width: int = 1) -> Tensor:
    """Draw the contours of masks: a white line just inside each region and a black edge just outside.

    The line is what an erosion by ``width`` pixels takes away from the mask, the edge what a dilation by one pixel
    adds, both with square windows (max-pooling). A region that reaches the border of the picture is closed one pixel
    before it, so that its edge is seen. Every other pixel keeps its value, and an empty mask changes nothing.

    Args:
        pictures: uint8, shape (N, H, W, 3).
        masks: Boolean, or numbers of which those above 0 are inside; shape (N, H, W).
        width: Pixels of the white line, at least 1.

    Returns:
        uint8, shape (N, H, W, 3), on the CPU.

    Raises:
        ValueError: If ``masks`` does not match ``pictures`` or ``width`` is below 1.

    Example:
        >>> mask = torch.zeros(1, 5, 5)
        >>> mask[0, 1:4, 1:4] = 1
        >>> outlined(torch.full((1, 5, 5, 3), 9, dtype=torch.uint8), mask)[0, ..., 0]
        tensor([[  0,   0,   0,   0,   0],
                [  0, 255, 255, 255,   0],
                [  0, 255,   9, 255,   0],
                [  0, 255, 255, 255,   0],
                [  0,   0,   0,   0,   0]], dtype=torch.uint8)

    """
    if tuple(masks.shape) != tuple(pictures.shape[:-1]):
        raise ValueError(
            f"Expected `masks` to have shape (N, H, W) to match `pictures` (N, H, W, 3), "
            f"but got {tuple(masks.shape)} for pictures {tuple(pictures.shape)}."
        )
    return with_contours(pictures, contours_of_masks(masks, width))


def boxed(pictures: Tensor, boxes: Boxes, *, width: int = 1) -> Tensor:
    """Draw the outlines of boxes, as :func:`outlined` does those of masks, each box for itself where they overlap.

    Args:
        pictures: uint8, shape (N, H, W, 3).
        boxes: Corners ``x1, y1, x2, y2`` in pixels of the picture (torchvision's ``xyxy``): a tensor of shape (N, 4) or
            (N, K, 4), or one tensor of shape (K, 4) per picture. A box without area, or that is not finite, is not
            drawn.
        width: Pixels of the white line, at least 1.

    Returns:
        uint8, shape (N, H, W, 3), on the CPU.

    Raises:
        ValueError: If there is not one entry of ``boxes`` per picture, an entry is not (K, 4), or ``width`` is below 1.

    Example:
        >>> boxed(torch.full((1, 3, 5, 3), 9, dtype=torch.uint8), torch.tensor([[1.0, 1.0, 3.0, 2.0]]))[0, ..., 0]
        tensor([[  0,   0,   0,   0,   9],
                [  0, 255, 255,   0,   9],
                [  0,   0,   0,   0,   9]], dtype=torch.uint8)

    """
    num_pictures, picture_height, picture_width = pictures.shape[:3]
    by_image = boxes_by_image(boxes, num_pictures)
    return with_contours(pictures, contours_of_boxes(by_image, picture_height, picture_width, width))


def with_contours(pictures: Tensor, contours: Tensor) -> Tensor:
    """Draw contours, shape (N, H, W), gray values or below 0 for none, on uint8 pictures, shape (N, H, W, 3)."""
    gray = contours.unsqueeze(-1)
    return torch.where(gray >= 0, gray, pictures.cpu()).to(torch.uint8)


def region_colour(number: int) -> tuple[tuple[int, int, int], bool]:
    """Return the colour of the outline of the n-th region, and whether it is dashed: eight pairs, then anew."""
    return _COLOURS[number % len(_COLOURS)], bool(number // len(_COLOURS) % 2 != number % 2)


def with_region(pictures: Tensor, contours: Tensor, number: int) -> Tensor:
    """Draw the contours of the n-th region, shape (N, H, W), in its colour on uint8 pictures, shape (N, H, W, 3)."""
    colour, dashed = region_colour(number)
    line, edge = contours == _WHITE, contours == _BLACK
    if dashed:
        height, width = contours.shape[1:]
        diagonal = torch.arange(height)[:, None] + torch.arange(width)[None]
        gap = line & (diagonal % (_DASH + _GAP) >= _DASH)
        line, edge = line & ~gap, edge | gap
    drawn = torch.where(edge[..., None], _BLACK, pictures.cpu())
    return torch.where(line[..., None], torch.tensor(colour, dtype=torch.uint8), drawn.to(torch.uint8))


def contours_of_masks(masks: Tensor, line_width: int) -> Tensor:
    """Give the contours of masks, shape (N, H, W): int16 gray values of the same shape, below 0 where there is none."""
    if line_width < 1:
        raise ValueError(f"Expected `width` to be at least 1 pixel, but got {line_width}.")
    inside = torch.zeros(masks.shape)
    inside[:, 1:-1, 1:-1] = (masks.detach().cpu() > 0)[:, 1:-1, 1:-1].float()
    line = (inside > 0) & (_dilated(1.0 - inside, line_width) > 0)
    edge = (inside == 0) & (_dilated(inside, 1) > 0)
    contours = torch.full(masks.shape, _NO_CONTOUR, dtype=torch.int16)
    return contours.masked_fill(line, _WHITE).masked_fill(edge, _BLACK)


def contours_of_boxes(boxes: Sequence[Tensor], height: int, width: int, line_width: int) -> Tensor:
    """Give the contours of each picture's boxes, shape (K, 4), later boxes above earlier ones: (N, height, width)."""
    contours = torch.full((len(boxes), height, width), _NO_CONTOUR, dtype=torch.int16)
    for number in range(max((len(corners) for corners in boxes), default=0)):
        of_each = [corners[number] if number < len(corners) else torch.zeros(4) for corners in boxes]
        above = contours_of_masks(_filled(torch.stack(of_each), height, width), line_width)
        contours = torch.where(above >= 0, above, contours)
    return contours


def boxes_by_image(boxes: Boxes, num_images: int) -> list[Tensor]:
    """Give the boxes of each image, float32 (K, 4) on the CPU; the shapes accepted stand at :func:`boxed`."""
    if len(boxes) != num_images:
        raise ValueError(
            f"Expected `boxes` to have one entry for each of the {num_images} images, but got {len(boxes)}."
        )
    by_image = []
    for index, boxes_of_image in enumerate(boxes):
        corners = boxes_of_image.detach().cpu().float()
        if corners.ndim == 1:
            corners = corners.unsqueeze(0) if corners.numel() else corners.reshape(0, 4)
        if corners.ndim != 2 or corners.shape[1] != 4:
            raise ValueError(
                f"Expected every entry of `boxes` to have shape (K, 4), x1, y1, x2, y2 in pixels, "
                f"but entry {index} has shape {tuple(boxes_of_image.shape)}."
            )
        by_image.append(corners)
    return by_image


def _dilated(maps: Tensor, radius: int) -> Tensor:
    return F.max_pool2d(maps.unsqueeze(1), kernel_size=2 * radius + 1, stride=1, padding=radius).squeeze(1)


def _filled(corners: Tensor, height: int, width: int) -> Tensor:
    """Fill one box per picture, corners (N, 4) rounded to whole pixels: bool (N, H, W)."""
    x1, y1, x2, y2 = (side[:, None, None] for side in corners.round().unbind(dim=1))
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    return (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
