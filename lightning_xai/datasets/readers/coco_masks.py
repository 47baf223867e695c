"""Segmentations of COCO as masks: polygons, and run lengths, also compressed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_xai.datasets.pictures import filled_polygons


def mask_of_segmentation(segmentation: Any, size: tuple[int, int]) -> Tensor:
    """Return where an object is, bool (H, W).

    Args:
        segmentation: Polygons, each a list x0, y0, x1, y1, …; or a mapping with ``size`` and ``counts``: lengths of
            runs, outside and inside in turn, column by column, as numbers or in COCO's text.
        size: H and W of the picture.

    Raises:
        ValueError: If it is neither, or of another size.
    """
    if isinstance(segmentation, list):
        polygons = [list(zip(one[0::2], one[1::2], strict=True)) for one in segmentation if len(one) >= 6]
        return filled_polygons(polygons, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError(f"Expected a segmentation of COCO, polygons or run lengths, but got {segmentation!r:.60}.")
    if tuple(segmentation["size"]) != size:
        raise ValueError(f"Expected run lengths of a picture of {size}, but got {tuple(segmentation['size'])}.")
    counts = segmentation["counts"]
    runs = torch.tensor(_decompressed(counts) if isinstance(counts, str) else counts)
    if int(runs.sum()) != size[0] * size[1]:
        raise ValueError(f"Expected run lengths of {size[0] * size[1]} pixels, but they sum to {int(runs.sum())}.")
    inside = (torch.arange(len(runs)) % 2 == 1).repeat_interleave(runs)
    return inside.reshape(size[1], size[0]).T.contiguous()


def _decompressed(text: str) -> list[int]:
    """Return the numbers in COCO's text: five bits to a character, the least first; from the third on, differences."""
    numbers: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:  # more to come
            continue
        if code & 0x10:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value, shift = 0, 0
    return numbers
