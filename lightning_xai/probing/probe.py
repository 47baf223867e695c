"""The fixed set of validation images that is explained every epoch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from lightning_xai._randomness import content_keys
from lightning_xai.evidence.annotations import check_boxes
from lightning_xai.probing.sample import Sample

_ROUNDING = 1e-3

Identity = tuple[int, int]
"""Content key and class of an image."""


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


@dataclass
class Probe:
    """Images that are explained every epoch, in the order of their selection.

    Attributes:
        identities: Content key and class of each image.
        items: Each image with what is known about it.
        previous: Explainer's name -> compact heatmaps (N, h, w) of the last explained epoch, float16.
        previous_target: Class that these explain, int64 (N,).
    """

    identities: list[Identity]
    items: list[Item]
    previous: dict[str, Tensor] = field(default_factory=dict)
    previous_target: Tensor | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def annotated(self) -> bool:
        """Whether every image has a mask, or every image has boxes."""
        return all(i.mask is not None for i in self.items) or all(i.boxes is not None for i in self.items)

    def sample(self, indices: Sequence[int], device: torch.device) -> Sample:
        """Return the images with ``indices`` as one batch on ``device``."""
        items = [self.items[i] for i in indices]
        boxes = [item.boxes.to(device) for item in items if item.boxes is not None]
        box_labels = [item.box_labels for item in items if item.box_labels is not None]
        ids = [item.id for item in items if item.id is not None]
        has_boxes = len(boxes) == len(items)
        return Sample(
            images=torch.stack([item.image for item in items]).to(device),
            labels=_stacked([item.label for item in items], device),
            masks=_stacked([item.mask for item in items], device),
            boxes=check_boxes(boxes, torch.empty(len(items), device=device)) if has_boxes else None,
            box_labels=pad_sequence(box_labels, True, -1).to(device) if len(box_labels) == len(items) else None,
            class_masks=_stacked([item.class_masks for item in items], device),
            ids=ids if len(ids) == len(items) else None,
        )

    @cached_property
    def value_range(self) -> tuple[float, float] | None:
        """Least and greatest value of all images, the same on every rank; None if there are no two values."""
        ends = torch.tensor([[float(item.image.min()), float(item.image.max())] for item in self.items]).view(-1, 2)
        low, high = (ends[:, 0].min().item(), ends[:, 1].max().item()) if len(ends) else (0.0, 0.0)
        return (low, high) if -math.inf < low < high < math.inf else None

    @property
    def keys(self) -> list[int]:
        """Content key of each image."""
        return [key for key, _ in self.identities]

    @property
    def labels(self) -> list[int]:
        """Class that each image stands for, -1 where none."""
        return [label for _, label in self.identities]

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, in plain numbers, lists and tensors; no images."""
        return {
            "keys": self.keys,
            "classes": self.labels,
            "previous": {name: maps.clone() for name, maps in self.previous.items()},
            "previous_target": None if self.previous_target is None else self.previous_target.clone(),
        }


class ProbeSelection:
    """Choose images while batches pass by; the choice depends on the set of images only.

    Classes take turns, inside a class and inside a round the smallest content key is next; equal images of one class
    count once. Whatever the order, batch size, shuffling or number of ranks, the same images are chosen, and never more
    than ``num_images`` are held (beside those that a resumed run is looking for).

    Args:
        num_images: How many to choose.
        wanted: Images of a restored probe, kept whatever their turn.
    """

    def __init__(self, num_images: int, wanted: Iterable[Identity] = ()) -> None:
        self._num_images = num_images
        self._wanted = frozenset(wanted)
        self._held: dict[Identity, Item] = {}
        self._chosen: list[Identity] = []

    def offer(self, sample: Sample) -> None:
        """Consider the images of a batch."""
        keys = content_keys(sample.images).tolist()
        labels = [-1] * len(keys) if sample.labels is None else _classes(sample.labels, keys)
        new: dict[Identity, int] = {}
        for row, identity in enumerate(zip(keys, labels, strict=True)):
            if identity not in self._held:
                new.setdefault(identity, row)
        known = frozenset(self._held)
        self._chosen = turns([*self._chosen, *new], self._num_images)
        kept = self._wanted.union(self._chosen)
        self._held = {identity: item for identity, item in self._held.items() if identity in kept}
        for identity in (kept & new.keys()) - known:
            self._held[identity] = _item(sample, new[identity])

    @property
    def held(self) -> dict[Identity, Item]:
        """Images that may become part of the probe."""
        return self._held

    @property
    def chosen(self) -> list[Identity]:
        """Images that this process alone would choose, in order."""
        return list(self._chosen)


def turns(identities: Iterable[Identity], count: int) -> list[Identity]:
    """Return the first ``count`` images when classes take turns, smallest content key first.

    Example:
        >>> turns([(5, 0), (1, 0), (9, 1), (2, 0)], 3)
        [(1, 0), (9, 1), (2, 0)]
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for key, label in set(identities):
        by_class[label].append(key)
    ranked = [(turn, key, label) for label, keys in by_class.items() for turn, key in enumerate(sorted(keys))]
    return [(key, label) for _, key, label in sorted(ranked)[:count]]


def are_distributions(labels: Tensor) -> bool:
    """Return whether every row of labels (N, K) sums to 1, as a distribution over the classes does."""
    return bool(((labels.double().sum(1) - 1.0).abs() < _ROUNDING).all())


def _classes(labels: Tensor, keys: list[int]) -> list[int]:
    """Return the class that each image stands for: its label, or one of its positive labels by its content."""
    if labels.ndim == 1:
        return [int(label) for label in labels.tolist()]
    rows, total = labels.cpu(), labels.double().sum(1).tolist()
    positives = [(row > 0.5).nonzero().flatten().tolist() for row in rows]
    return [
        int(row.argmax()) if abs(whole - 1.0) < _ROUNDING else found[key % len(found)] if found else -1
        for row, whole, found, key in zip(rows, total, positives, keys, strict=True)
    ]


def _item(sample: Sample, row: int) -> Item:
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
    )


def _stacked(parts: list[Tensor | None], device: torch.device) -> Tensor | None:
    known = [part for part in parts if part is not None]
    alike = len({part.shape for part in known}) == 1
    return torch.stack(known).to(device) if alike and len(known) == len(parts) else None
