"""Masks, boxes and regions that follow an image which is moved."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_xai.probing.sample import Sample, sample_of_checked

_LEAST = 1e-3  # pixels: a side that is shorter is rounding


def moved(
    sample: Sample,
    images: Tensor,
    maps: Callable[[Tensor], Tensor],
    corners: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Sample:
    """Return a sample with moved images, and with everything that is marked on them where it is now.

    Args:
        sample: Before.
        images: After, (N, C, h, w).
        maps: Moves boolean maps (..., H, W), nearest pixel by nearest pixel.
        corners: Moves places: x and y in, x and y out, float64, in pixels from the image's upper left corner.
    """
    parts = vars(sample)
    of_maps = {name: None if parts[name] is None else maps(parts[name]) for name in ("masks", "class_masks")}
    regions = None if sample.regions is None else {name: maps(area) for name, area in sample.regions.items()}
    boxes = None if sample.boxes is None else _moved_boxes(sample.boxes, corners, (images.shape[2], images.shape[3]))
    labels = sample.box_labels
    if boxes is not None and labels is not None:
        labels = torch.where(boxes.isnan().any(-1), -1, labels)
    changed = {"images": images, "regions": regions, "boxes": boxes, "box_labels": labels}
    return sample_of_checked(**{**parts, **of_maps, **changed})


def _moved_boxes(
    boxes: Tensor, corners: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], size: tuple[int, int]
) -> Tensor:
    """Return the box around each moved box, cut at the edges; NaN if nothing of it is left in the image."""
    x0, y0, x1, y1 = boxes.double().unbind(-1)
    x, y = corners(torch.stack([x0, x1, x1, x0], -1), torch.stack([y0, y0, y1, y1], -1))
    x, y = x.clamp(0, size[1]), y.clamp(0, size[0])
    around = torch.stack([x.amin(-1), y.amin(-1), x.amax(-1), y.amax(-1)], -1)
    sides = around[..., 2:] - around[..., :2]
    return torch.where((sides > _LEAST).all(-1, keepdim=True), around, torch.nan).float()
