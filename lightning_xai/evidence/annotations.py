"""Masks and boxes: checked, padded, and derived from one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_xai._checks import check_device, check_maps, check_name, shape


def check_masks(masks: object, anchor: Tensor | None, name: str = "masks") -> Tensor:
    """Return ``masks`` as boolean (N, H, W), true where they are positive.

    Args:
        masks: Boolean or numbers (N, H, W).
        anchor: Images (N, C, H, W) or heatmaps (N, H, W) that they must match.
        name: The argument's name.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If its shape or device does not match, or a value is not finite.
    """
    checked = check_maps(masks, anchor, name).detach()
    return checked if checked.dtype == torch.bool else checked > 0


def check_regions(regions: object, anchor: Tensor) -> dict[str, Tensor]:
    """Return named regions as boolean masks (N, H, W) by name.

    Args:
        regions: Mapping of names to masks (N, H, W), or to boxes as `check_boxes` takes them.
        anchor: Images (N, C, H, W) or heatmaps (N, H, W) that they must match.

    Raises:
        TypeError: If it is no mapping of names to tensors.
        ValueError: If it is empty, a name cannot be part of a key, a shape or device does not match, a value is not
            finite, a box has no area, or numbers in the shape of both could be either.
    """
    if not isinstance(regions, Mapping):
        raise TypeError(f"Expected `regions` to map names to masks or boxes, but got {type(regions).__name__}.")
    if not regions:
        raise ValueError("Expected `regions` to name at least one region, but got none.")
    return {check_name(name, "regions"): _region(area, anchor, f"regions[{name!r}]") for name, area in regions.items()}


def _region(area: object, anchor: Tensor, name: str) -> Tensor:
    size = (anchor.shape[-2], anchor.shape[-1])
    if isinstance(area, Tensor) and area.ndim == 3 and (area.dtype == torch.bool or area.shape[-1] != 4):
        return check_masks(area, anchor, name)
    if isinstance(area, Tensor) and tuple(area.shape) == (len(anchor), *size):
        raise ValueError(
            f"Expected `{name}` to be masks or boxes, but numbers of shape {shape(area)} can be both, because images "
            "are 4 pixels wide. Pass masks as bool."
        )
    return masks_of_boxes(check_boxes(area, anchor, name), size)


def check_boxes(boxes: object, anchor: Tensor, name: str = "boxes") -> Tensor:
    """Return ``boxes`` as float32 (N, M, 4), x0, y0, x1, y1 in pixels with exclusive ends, padded with NaN rows.

    Args:
        boxes: (N, 4), (N, M, 4), or a sequence of N tensors (M_i, 4).
        anchor: A tensor with the batch's first axis and device.
        name: The argument's name.

    Raises:
        TypeError: If it is neither tensor nor sequence of tensors.
        ValueError: If a shape does not fit, or a box has no area.
    """
    if isinstance(boxes, Sequence) and all(isinstance(box, Tensor) for box in boxes):
        boxes = _padded(boxes, anchor, name)
    if not isinstance(boxes, Tensor):
        raise TypeError(f"Expected `{name}` to be a Tensor or a sequence of Tensors, but got {type(boxes).__name__}.")
    boxes = boxes[:, None] if boxes.ndim == 2 else boxes
    if boxes.ndim != 3 or boxes.shape[0] != len(anchor) or boxes.shape[2] != 4:
        raise ValueError(f"Expected `{name}` to have shape ({len(anchor)}, M, 4), but got {shape(boxes)}.")
    check_device(boxes, anchor, name)
    no_padding = boxes[~boxes.isnan().any(-1)] if boxes.is_floating_point() else boxes.flatten(0, 1)
    if bool(no_padding.isinf().any()):
        raise ValueError(f"Expected `{name}` to be finite (NaN rows stand for none), but got infinity.")
    if bool((no_padding[:, 2:] <= no_padding[:, :2]).any()):
        raise ValueError(f"Expected `{name}` as x0, y0, x1, y1 with x1 > x0 and y1 > y0, but got a box without area.")
    boxes = boxes.detach().float()
    return boxes if boxes.shape[1] else boxes.new_full((len(anchor), 1, 4), torch.nan)


def masks_of_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the union of each image's boxes (N, M, 4) as boolean masks (N, H, W); pixel centres decide."""
    y = torch.arange(size[0], device=boxes.device)[:, None] + 0.5
    x = torch.arange(size[1], device=boxes.device)[None, :] + 0.5
    x0, y0, x1, y1 = (edge[:, :, None, None] for edge in boxes.unbind(-1))
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).any(1)


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Return the tight box of each mask as float32 (N, 1, 4); a row of NaN where the mask is empty."""
    rows, columns = masks.any(2), masks.any(1)
    edges = [_first(columns), _first(rows), _past(columns), _past(rows)]
    boxes = torch.stack(edges, -1).float()
    boxes[~masks.flatten(1).any(1)] = torch.nan
    return boxes[:, None]


def _first(line: Tensor) -> Tensor:
    return line.int().argmax(1)


def _past(line: Tensor) -> Tensor:
    return line.shape[1] - line.flip(1).int().argmax(1)


def _padded(boxes: Sequence[Tensor], anchor: Tensor, name: str) -> Tensor:
    for box in boxes:
        if box.numel() % 4 or (box.numel() and box.shape[-1] != 4):
            raise ValueError(f"Expected each of `{name}` to have shape (M, 4), but got {shape(box)}.")
    boxes = [box.reshape(-1, 4) for box in boxes]
    padded = torch.full((len(boxes), max((len(box) for box in boxes), default=0), 4), torch.nan, device=anchor.device)
    for row, box in zip(padded, boxes, strict=True):
        row[: len(box)] = box.to(anchor.device)
    return padded
