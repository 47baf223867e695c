"""The images of a comparison after a transform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.transforms.surroundings import WholeData
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.probing.probe import Item, Probe, item_of
from lightning_xai.probing.sample import Sample


def transformed(
    images: ComparedImages, transform: Transform | Callable[[Sample], Sample], seed: int = 0
) -> ComparedImages:
    """Return images after a transform of each batch.

    Random numbers of a `Transform` belong to each image; those that a function takes from torch begin with ``seed``. An
    image is known by what it was, so that it can be followed through transforms. Noise and radii of metrics are shares
    of the range that the images had before a `Transform`, so that they are the same under each strength.

    Args:
        images: Before.
        transform: One that needs no model.
        seed: Of random numbers.

    Raises:
        TypeError: If it returns no `Sample`.
        ValueError: If it returns another number of images.
    """
    change = _function(transform, images.probe, seed)
    items: dict[int, Item] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for chunk in images.chunks:
            changed = change(images.sample(chunk, torch.device("cpu")), chunk)
            if not isinstance(changed, Sample):
                raise TypeError(f"Expected a transform to return a Sample, but got {type(changed).__name__}.")
            if len(changed.images) != len(chunk):
                raise ValueError(f"Expected a transform to keep {len(chunk)} images, but got {len(changed.images)}.")
            items |= {place: item_of(changed, row) for row, place in enumerate(chunk)}
    kept = images.probe.value_range if isinstance(transform, Transform) else None
    ordered = [items[place] for place in range(len(images))]
    return ComparedImages(Probe(images.probe.identities, ordered, kept_range=kept))


def _function(
    transform: Transform | Callable[[Sample], Sample], probe: Probe, seed: int
) -> Callable[[Sample, list[int]], Any]:
    """Return what changes a batch of images at some places."""
    if not isinstance(transform, Transform):
        return lambda sample, _: transform(sample)
    data = WholeData(probe)
    return lambda sample, chunk: transform.change(sample, data.around(chunk, seed))


def out_of_view(before: ComparedImages, after: ComparedImages) -> tuple[str, ...]:
    """Return in words of how many images something that was annotated is gone: metrics of it are undefined there."""
    pairs = [(_marked(one), _marked(other)) for one, other in zip(before.probe.items, after.probe.items, strict=True)]
    gone = Counter(what for one, other in pairs for what, number in one.items() if other[what] < number)
    return tuple(
        f"{what} of {number} of {len(before)} images is no longer in the picture: metrics of it are undefined there"
        for what, number in gone.items()
    )


def _marked(item: Item) -> Counter[str]:
    """Return what is annotated on an image, in words -> how many of it."""
    boxes = 0 if item.boxes is None else int((~item.boxes.isnan().any(-1)).sum())
    planes = [item.mask] if item.class_masks is None else list(item.class_masks)
    objects = boxes + sum(_is_marked(plane) for plane in planes)
    regions = {f"the region {name!r}": int(_is_marked(area)) for name, area in (item.regions or {}).items()}
    return Counter({"an annotated object": objects} | regions)


def _is_marked(mask: Tensor | None) -> bool:
    return mask is not None and bool(mask.any())
