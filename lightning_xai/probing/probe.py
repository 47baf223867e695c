"""The fixed set of validation images that is explained every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from lightning_xai.evidence.annotations import check_boxes, masks_of_boxes
from lightning_xai.evidence.heat import LARGEST_KEPT
from lightning_xai.model.extra import checked_extra, from_rows, row_of
from lightning_xai.probing.sample import Sample, sample_of_checked

_ROUNDING = 1e-3

Identity: TypeAlias = tuple[int, int] | tuple[int, int, str]
"""Content key and class of an image, and its group where it has one."""


@dataclass(frozen=True)
class Item:
    """One probe image on the CPU, as it came from the loader, with what a `Sample` says about it."""

    image: Tensor
    label: Tensor | None
    mask: Tensor | None
    boxes: Tensor | None
    box_labels: Tensor | None = None
    class_masks: Tensor | None = None
    id: str | None = None
    extra: dict[str, Any] | None = None
    regions: dict[str, Tensor] | None = None
    group: str | None = None

    @property
    def form(self) -> tuple[int, ...]:
        """What images of one batch have in common: their shape."""
        return tuple(self.image.shape)


@dataclass
class Probe:
    """Images that are explained every epoch, in the order of their selection; they may differ in size.

    Attributes:
        identities: Content key and class of each image, and its group where it has one.
        items: Each image with what is known about it.
        previous: Explainer's name -> compact heatmaps (N, h, w) of the last explained epoch, float16; where images
            differ in size, NaN beyond the edges of the smaller ones.
        previous_target: Class that these explain, int64 (N,).
        num_images: How many images were asked for; None if unknown.
        kept_range: The value range of the run that this probe goes on with, None for that of its own images.
    """

    identities: list[Identity]
    items: list[Item]
    previous: dict[str, Tensor] = field(default_factory=dict)
    previous_target: Tensor | None = None
    num_images: int | None = None
    kept_range: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def annotated(self) -> bool:
        """Whether some image has a mask or boxes; metrics of annotated objects are undefined for the others."""
        return self._has_masks or self._has_boxes

    @cached_property
    def places_by_size(self) -> list[list[int]]:
        """Places of the images that can be one batch, because they are of one size; the same on every rank."""
        places: dict[tuple[int, ...], list[int]] = {}
        for place, item in enumerate(self.items):
            places.setdefault(item.form, []).append(place)
        return list(places.values())

    def first(self, num_images: int) -> Probe:
        """Return the probe that a choice of ``num_images`` would have been; itself if it holds no more."""
        if num_images >= len(self):
            return self
        return replace(
            self,
            identities=self.identities[:num_images],
            items=self.items[:num_images],
            previous={name: maps[:num_images] for name, maps in self.previous.items()},
            previous_target=None if self.previous_target is None else self.previous_target[:num_images],
            num_images=num_images,
        )

    def sample(self, indices: Sequence[int], device: torch.device) -> Sample:
        """Return the images with ``indices``, which are of one size, as one batch on ``device``.

        What the batch holds beside images and labels depends on the whole probe, not on which of its images these are:
        where only some are annotated, the masks of the others are empty.
        """
        items = [self.items[i] for i in indices]
        ids = [item.id for item in items if item.id is not None]
        groups = [item.group for item in items if item.group is not None]
        boxes = [torch.zeros(0, 4) if item.boxes is None else item.boxes for item in items]
        box_labels = [_box_labels(item, len(own)) for item, own in zip(items, boxes, strict=True)]
        planes = self._num_planes
        parts = {
            "images": torch.stack([item.image for item in items]),
            "labels": _stacked([item.label for item in items]),
            "masks": torch.stack([_mask(item) for item in items]) if self._has_masks else None,
            "boxes": check_boxes(boxes, torch.empty(len(items))) if self._has_boxes else None,
            "box_labels": pad_sequence(box_labels, True, -1) if self._has_boxes and self._has_box_labels else None,
            "class_masks": torch.stack([_class_masks(item, planes) for item in items]) if planes else None,
        }
        on_device = {name: None if part is None else part.to(device) for name, part in parts.items()}
        extras = [item.extra for item in items if item.extra is not None]
        regions = {name: torch.stack([_area(item, name) for item in items]).to(device) for name in self._regions}
        return sample_of_checked(
            **on_device,
            ids=ids if len(ids) == len(items) else None,
            extra=checked_extra(from_rows(extras), len(items), device=device) if extras else None,
            regions=regions or None,
            groups=groups if len(groups) == len(items) else None,
        )

    def previous_of(self, places: Sequence[int]) -> dict[str, Tensor]:
        """Return the last epoch's small heatmaps of images of one size, by explainer, each (n, h, w)."""
        height, width = (min(side, LARGEST_KEPT) for side in self.items[places[0]].image.shape[1:])
        return {name: maps[list(places), :height, :width] for name, maps in self.previous.items()}

    @property
    def _has_masks(self) -> bool:
        return any(item.mask is not None for item in self.items)

    @property
    def _has_boxes(self) -> bool:
        """Whether boxes say all that is annotated; else masks do, also for images with boxes alone."""
        annotated = [item for item in self.items if item.mask is not None or item.boxes is not None]
        return bool(annotated) and all(item.boxes is not None for item in annotated)

    @property
    def _has_box_labels(self) -> bool:
        return any(item.box_labels is not None for item in self.items)

    @property
    def _regions(self) -> list[str]:
        """Names of the regions that some image has."""
        return sorted({name for item in self.items for name in item.regions or ()})

    @property
    def _num_planes(self) -> int:
        """How many planes class masks have; 0 without any, or where images differ in it."""
        numbers = {len(item.class_masks) for item in self.items if item.class_masks is not None}
        return numbers.pop() if len(numbers) == 1 else 0

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Least and greatest value that images have, of which noise is a share; the same on every rank."""
        return self.own_range if self.kept_range is None else self.kept_range

    @cached_property
    def own_range(self) -> tuple[float, float] | None:
        """Least and greatest value of all images; None if there are no two values."""
        ends = torch.tensor([[float(item.image.min()), float(item.image.max())] for item in self.items]).view(-1, 2)
        low, high = (ends[:, 0].min().item(), ends[:, 1].max().item()) if len(ends) else (0.0, 0.0)
        return (low, high) if -math.inf < low < high < math.inf else None

    @property
    def ids(self) -> list[str] | None:
        """What a reader knows each image by; None if the data do not say it of every image."""
        known = [item.id for item in self.items if item.id is not None]
        return known if known and len(known) == len(self.items) else None

    @property
    def groups(self) -> list[str] | None:
        """Group of each image, empty where it has none; None if none has."""
        groups = [item.group or "" for item in self.items]
        return groups if any(groups) else None

    @property
    def keys(self) -> list[int]:
        """Content key of each image."""
        return [identity[0] for identity in self.identities]

    @property
    def labels(self) -> list[int]:
        """Class that each image stands for, -1 where none."""
        return [identity[1] for identity in self.identities]

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, in plain numbers, lists and tensors; no images."""
        return {
            "keys": self.keys,
            "classes": self.labels,
            "groups": self.groups,
            "previous": {name: maps.clone() for name, maps in self.previous.items()},
            "previous_target": None if self.previous_target is None else self.previous_target.clone(),
            "num_images": self.num_images,
            "value_range": None if self.value_range is None else list(self.value_range),
        }


def references_of_size(references: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Return reference images (C, H, W) as one batch (R, C, h, w); those of another size resized, by interpolation.

    So images of every size are compared with the same references: those of their own size may be few, or none but the
    image itself.
    """
    same = [
        one
        if one.shape[1:] == size
        else F.interpolate(one[None].float(), size, mode="bilinear", antialias=True)[0].to(one)
        for one in references
    ]
    return torch.stack(same)


def are_distributions(labels: Tensor) -> bool:
    """Return whether every row of labels (N, K) sums to 1, as a distribution over the classes does."""
    return bool(((labels.double().sum(1) - 1.0).abs() < _ROUNDING).all())


def item_of(sample: Sample, row: int) -> Item:
    """Return a copy of one image of a batch, which does not hold the batch."""

    def copied(part: Tensor | None) -> Tensor | None:
        return None if part is None else part[row].detach().cpu().clone()

    return Item(
        image=sample.images[row].detach().cpu().clone(),
        label=copied(sample.labels),
        mask=copied(sample.masks),
        boxes=copied(sample.boxes),
        box_labels=copied(sample.box_labels),
        class_masks=copied(sample.class_masks),
        id=None if sample.ids is None else sample.ids[row],
        group=None if sample.groups is None else str(sample.groups[row]),
        extra=None if sample.extra is None else row_of(sample.extra, row),
        regions=None if sample.regions is None else {n: area[row].cpu().clone() for n, area in sample.regions.items()},
    )


def _stacked(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    alike = len({part.shape for part in known}) == 1
    return torch.stack(known) if alike and len(known) == len(parts) else None


def _mask(item: Item) -> Tensor:
    """Return the annotated object as a mask (H, W): empty where there is none, or only one of a certain class."""
    if item.mask is not None:
        return item.mask
    size = (item.image.shape[1], item.image.shape[2])
    if item.boxes is None or item.box_labels is not None:
        return torch.zeros(size, dtype=torch.bool)
    return masks_of_boxes(item.boxes[None], size)[0]


def _area(item: Item, name: str) -> Tensor:
    """Return a region as a mask (H, W): empty where the image lacks it."""
    empty = torch.zeros(item.image.shape[1:], dtype=torch.bool)
    return empty if item.regions is None else item.regions.get(name, empty)


def _class_masks(item: Item, num_planes: int) -> Tensor:
    """Return a mask for each class, (K, H, W): all alike where nobody knows which class is annotated."""
    return _mask(item).expand(num_planes, -1, -1) if item.class_masks is None else item.class_masks


def _box_labels(item: Item, count: int) -> Tensor:
    return torch.full((count,), -1) if item.box_labels is None else item.box_labels
