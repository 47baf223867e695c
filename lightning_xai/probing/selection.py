"""Which validation images become the probe: a choice that depends on the set of images only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable

import torch
from torch import Tensor

from lightning_xai._randomness import content_keys
from lightning_xai.probing.probe import Identity, Item, are_distributions, item_of
from lightning_xai.probing.sample import Sample


class ProbeSelection:
    """Choose images while batches pass by; the choice depends on the set of images only.

    Classes take turns. Inside a class, and inside a round, images whose annotation marks something come first (of the
    class that the image stands for, where annotations have classes), then the smallest content key is next; equal
    images of one class count once. Images that stand for no class, such as those without a finding, take no turn: they
    fill what is left. Whatever the order, batch size, shuffling or number of ranks, the same images are chosen, and
    never more than ``num_images`` are held (beside those that a resumed run is looking for).

    Args:
        num_images: How many to choose.
        wanted: Images of a restored probe, kept whatever their turn.
    """

    def __init__(self, num_images: int, wanted: Iterable[Identity] = ()) -> None:
        self._num_images = num_images
        self._wanted = frozenset(wanted)
        self._held: dict[Identity, Item] = {}
        self._chosen: list[Identity] = []
        self._annotated: frozenset[Identity] = frozenset()
        self.class_counts: Counter[int] = Counter()
        """Class -> images that were offered, -1 for those that stand for none."""

    def offer(self, sample: Sample) -> None:
        """Consider the images of a batch."""
        keys = content_keys(sample.images).tolist()
        stands_for, marked = _classes(sample, keys)
        self.class_counts.update(stands_for)
        new: dict[Identity, int] = {}
        annotated = set(self._annotated)
        for row, identity in enumerate(zip(keys, stands_for, strict=True)):
            is_news = marked[row] and identity not in annotated  # also of an image that is held without annotation
            if is_news or identity not in self._held:
                new[identity] = row if is_news else new.get(identity, row)
            annotated.update([identity] if marked[row] else [])
        self._chosen = turns({*self._chosen, *new}, self._num_images, annotated)
        kept = self._wanted.union(self._chosen)
        self._annotated = kept & annotated
        self._held = {identity: item for identity, item in self._held.items() if identity in kept}
        for identity in kept & new.keys():
            self._held[identity] = item_of(sample, new[identity])

    @property
    def held(self) -> dict[Identity, Item]:
        """Images that may become part of the probe."""
        return self._held

    @property
    def chosen(self) -> list[Identity]:
        """Images that this process alone would choose, in order."""
        return list(self._chosen)

    @property
    def annotated(self) -> frozenset[Identity]:
        """Those of the held images whose annotation marks something."""
        return self._annotated


def turns(identities: Iterable[Identity], count: int, annotated: Container[Identity] = ()) -> list[Identity]:
    """Return the first ``count`` images when classes take turns, annotated ones and small content keys first.

    Example:
        >>> turns([(5, 0), (1, 0), (9, 1), (2, 0)], 3)
        [(1, 0), (9, 1), (2, 0)]
        >>> turns([(5, 0), (1, 0), (9, 1), (2, 0), (0, -1)], 3, annotated=[(5, 0)])
        [(5, 0), (9, 1), (1, 0)]
    """
    by_class: dict[int, list[tuple[bool, int]]] = defaultdict(list)
    for key, label in set(identities):
        by_class[label].append(((key, label) not in annotated, key))
    # Ordered by the same pair inside a class and inside a round: else what is dropped would depend on the order.
    ranked = [
        (label < 0, turn, *image, label)
        for label, images in by_class.items()
        for turn, image in enumerate(sorted(images))
    ]
    return [(key, label) for *_, key, label in sorted(ranked)[:count]]


def _classes(sample: Sample, keys: list[int]) -> tuple[list[int], list[bool]]:
    """Return the class that each image stands for, and whether its annotation marks something of that class.

    The class is the label, or by the image's content one of its positive labels, of the annotated ones if there are
    any; -1 where there is none.
    """
    marked = _marked_classes(sample)
    if sample.labels is None:
        positives: list[list[int]] = [[] for _ in keys]
    elif sample.labels.ndim == 1:
        positives = [[label] for label in sample.labels.tolist()]
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
