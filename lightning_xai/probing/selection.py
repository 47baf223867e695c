"""Which validation images become the probe: a choice that depends on the set of images only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from lightning_xai._randomness import content_keys, joined_keys
from lightning_xai.model.extra import Extra, keys_of
from lightning_xai.probing.probe import Identity, Item, are_distributions, item_of
from lightning_xai.probing.sample import VOID, Sample


class ProbeSelection:
    """Choose images while batches pass by; the choice depends on the set of images only.

    Classes take turns, and inside a class its groups, if images have groups; which class and group is first in a round
    depends on their names alone. Inside a group, or a class and a round without groups, images whose annotation marks
    something come first (of the class that the image stands for, where annotations have classes), then the smallest
    content key is next; equal images of one class and group count once. Images that stand for no class, such as those
    without a finding, take no turn: they fill what is left. Those whose label says to ignore them, below -1 or 255
    where the model has no such class, are chosen only where there are no others. Of equal images the least id is kept.
    Whatever the order, batch size, shuffling or number of ranks, the same images are chosen, and never more than
    ``num_images`` are held, beside those that a resumed run is looking for, and as many of each label to ignore.

    Args:
        num_images: How many to choose.
        wanted: Images of a restored probe, kept whatever their turn.
    """

    def __init__(self, num_images: int, wanted: Iterable[Identity] = ()) -> None:
        self._num_images = num_images
        self._wanted = frozenset(wanted)
        self._held: dict[Identity, Item] = {}
        self._chosen: list[Identity] = []
        self._ignored: list[Identity] = []
        self._annotated: frozenset[Identity] = frozenset()
        self.class_counts: Counter[int] = Counter()
        """Class -> images that were offered, -1 for those that stand for none."""

    def offer(self, sample: Sample) -> None:
        """Consider the images of a batch."""
        keys = keys_of_images(sample.images, sample.extra).tolist()
        stands_for, marked = _classes(sample, keys)
        self.class_counts.update(stands_for)
        annotated = set(self._annotated)
        new = self._news(sample, _identities(keys, stands_for, sample.groups), marked, annotated)
        labels = stands_for if sample.labels is None or sample.labels.ndim > 1 else sample.labels.tolist()
        to_ignore = {one for one, row in new.items() if labels[row] < -1 or stands_for[row] == labels[row] == VOID}
        self._chosen = turns({*self._chosen, *(new.keys() - to_ignore)}, self._num_images, annotated)
        self._ignored = _of_each_class({*self._ignored, *to_ignore}, self._num_images, annotated)
        kept = self._wanted.union(self._chosen, self._ignored)
        self._annotated = kept & annotated
        self._held = {identity: item for identity, item in self._held.items() if identity in kept}
        for identity in kept & new.keys():
            self._held[identity] = item_of(sample, new[identity])

    def _news(
        self, sample: Sample, identities: list[Identity], marked: list[bool], annotated: set[Identity]
    ) -> dict[Identity, int]:
        """Return the rows of a batch that say more than what is held; note which images are ``annotated``."""
        new: dict[Identity, int] = {}
        for row, identity in enumerate(identities):
            is_news = marked[row] and identity not in annotated  # also of an image that is held without annotation
            if is_news or identity not in self._held:
                new[identity] = row if is_news else new.get(identity, row)
            annotated.update([identity] if marked[row] else [])
            if sample.ids is not None and marked[row] == (identity in annotated):
                known = sample.ids[new[identity]] if identity in new else self._held[identity].id
                if sample.ids[row] < (known or ""):
                    new[identity] = row
        return new

    @property
    def held(self) -> dict[Identity, Item]:
        """Images that may become part of the probe."""
        return self._held

    @property
    def chosen(self) -> list[Identity]:
        """Images that this process alone would choose, in order."""
        return list(self._chosen)

    @property
    def offers(self) -> Offers:
        """What other processes need to know before they agree."""
        ids = {identity: item.id or "" for identity, item in self._held.items()}
        return Offers(list(self._chosen), list(self._ignored), ids, self._annotated)


@dataclass(frozen=True)
class Offers:
    """What one process saw, without images.

    Attributes:
        chosen: Images that it alone would choose, in order.
        ignored: Images whose label says to ignore them, in order.
        ids: Of each image that it holds, empty if it has none.
        annotated: Those of the held images whose annotation marks something.
    """

    chosen: list[Identity]
    ignored: list[Identity]
    ids: dict[Identity, str]
    annotated: frozenset[Identity]


def winners_of(
    offers: Sequence[Offers], count: int, annotated: Container[Identity], num_classes: int | None
) -> list[Identity]:
    """Return the first ``count`` of the images of all processes; those to ignore only where there are no others.

    Args:
        offers: Of each process.
        count: How many.
        annotated: Images whose annotation marks something, in some process.
        num_classes: Of the model; 255 is taken for a class if it is unknown.
    """
    chosen = [identity for one in offers for identity in one.chosen]
    ignored = [identity for one in offers for identity in one.ignored]
    has_class = num_classes is None or num_classes > VOID
    labelled = [*chosen, *(identity for identity in ignored if identity[1] == VOID and has_class)]
    return turns(labelled or ignored, count, annotated)


def turns(identities: Iterable[Identity], count: int, annotated: Container[Identity] = ()) -> list[Identity]:
    """Return the first ``count`` images when classes, and inside a class its groups, take turns.

    Inside a group annotated images and small content keys are first.

    Example:
        >>> turns([(5, 0), (1, 0), (9, 1), (2, 0)], 3)
        [(1, 0), (9, 1), (2, 0)]
        >>> turns([(5, 0), (1, 0), (9, 1), (2, 0), (0, -1)], 3, annotated=[(5, 0)])
        [(5, 0), (9, 1), (1, 0)]
        >>> turns([(1, 0, "here"), (2, 0, "here"), (3, 0, "there"), (9, 1, "here")], 3)
        [(9, 1, 'here'), (3, 0, 'there'), (1, 0, 'here')]
    """
    by_class: dict[int, list[tuple[int, int, bool, Identity]]] = defaultdict(list)
    for cell, images in _by_cell(set(identities)).items():
        ranked = sorted((one not in annotated, one) for one in images)
        by_class[cell[0]] += [(turn, _place_of(cell), *image) for turn, image in enumerate(ranked)]
    # Ordered by the same inside a class and inside a round: else what is dropped would depend on the order.
    places = [
        (label < 0, turn, image)
        for label, images_of_class in by_class.items()
        for turn, image in enumerate(sorted(images_of_class))
    ]
    return [image[-1] for *_, image in sorted(places)[:count]]


def _by_cell(identities: Iterable[Identity]) -> dict[tuple[int] | tuple[int, str], list[Identity]]:
    """Return the images by class and, where they have one, group."""
    cells: dict[tuple[int] | tuple[int, str], list[Identity]] = defaultdict(list)
    for one in identities:
        cells[one[1:]].append(one)
    return cells


def _place_of(cell: tuple[int] | tuple[int, str]) -> int:
    """Return by what the groups of a class, and those of a round, are ordered: a number that belongs to their names.

    It is another one in each class. Ordered by name, or by their images, some group would always come first, and where
    there are few turns others never. Without groups, images are ordered by themselves.
    """
    if len(cell) == 1:
        return 0
    return int.from_bytes(blake2b(repr(cell).encode(), digest_size=8).digest(), "big")


def _of_each_class(identities: Iterable[Identity], count: int, annotated: Container[Identity]) -> list[Identity]:
    """Return the first ``count`` of each class: which of these count is not known yet."""
    by_class: dict[int, list[Identity]] = defaultdict(list)
    for one in identities:
        by_class[one[1]].append(one)
    return [one for label in sorted(by_class) for one in turns(by_class[label], count, annotated)]


def _identities(keys: Sequence[int], classes: Sequence[int], groups: Iterable[object] | None) -> list[Identity]:
    """Return what images are known by."""
    if groups is None:
        return list(zip(keys, classes, strict=True))
    return [(key, label, str(group)) for key, label, group in zip(keys, classes, groups, strict=True)]


def keys_of_images(images: Tensor, extra: Extra | None) -> Tensor:
    """Return the key of each image with its `extra`, int64 (N,): of an image that comes with two, there are two."""
    keys = content_keys(images)
    return joined_keys(keys, keys_of(extra).to(keys.device)) if extra else keys


def identities_of(sample: Sample) -> list[Identity]:
    """Return the content key of each image and the class that it stands for, -1 where none."""
    keys: list[int] = keys_of_images(sample.images, sample.extra).tolist()
    return list(zip(keys, _classes(sample, keys)[0], strict=True))


def _classes(sample: Sample, keys: list[int]) -> tuple[list[int], list[bool]]:
    """Return the class that each image stands for, and whether its annotation marks something of that class.

    The class is the label, or by the image's content one of its positive labels, of the annotated ones if there are
    any; -1 where there is none.
    """
    marked = _marked_classes(sample)
    if sample.labels is None:
        positives: list[list[int]] = [[] for _ in keys]
    elif sample.labels.ndim == 1:
        positives = [[max(label, -1)] for label in sample.labels.tolist()]
    else:
        positives = list(map(_positives, sample.labels.cpu().double()))
    classes, of_class = [], []
    for key, found, marks in zip(keys, positives, marked, strict=True):
        known = [label for label in found if marks is None or label in marks]
        label = (known or found)[key % len(known or found)] if found else -1
        classes.append(int(label))
        of_class.append(bool(known) if label >= 0 else marks is None or bool(marks))
    return classes, of_class


def _positives(row: Tensor) -> list[int]:
    """Return the classes of labels (K,): the most probable one of a distribution, else all that are positive."""
    if are_distributions(row[None]):
        return [int(row.argmax())]
    found: list[int] = (row > 0.5).nonzero().flatten().tolist()
    return found


def _marked_classes(sample: Sample) -> list[set[int] | None]:
    """Return the classes of what is annotated on each image; None where something is whose class nobody knows."""
    labels, planes = sample.labels, sample.class_masks
    if sample.box_labels is not None:
        return [{label for label in row if label >= 0} for row in sample.box_labels.tolist()]
    if planes is not None and labels is not None and labels.ndim == 2 and labels.shape[1] == planes.shape[1]:
        return [set(row.nonzero().flatten().tolist()) for row in planes.flatten(2).any(2).cpu()]
    marked = torch.zeros(len(sample.images), dtype=torch.bool)
    if sample.masks is not None:
        marked |= sample.masks.flatten(1).any(1).cpu()
    if sample.boxes is not None:
        marked |= (~sample.boxes.isnan().any(2)).any(1).cpu()
    return [None if one else set() for one in marked.tolist()]
