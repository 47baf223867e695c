"""What a batch holds for the model's forward beside the images, found by the names in its signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import shape
from lightning_xai.model.call import ForwardArguments
from lightning_xai.probing.sample import HINT

USUAL_NAMES = {
    "images": ("images", "image", "imgs", "img", "pixel_values", "inputs", "input", "x", "data"),
    "labels": ("labels", "label", "targets", "target", "y", "classes", "class"),
    "masks": ("masks", "mask", "segmentations", "segmentation"),
    "boxes": ("boxes", "box", "bboxes", "bbox"),
    "box_labels": ("box_labels", "boxes_labels", "bbox_labels"),
    "regions": ("regions",),
    "ids": ("ids", "id", "paths", "path", "filenames", "filename", "file_name", "patient_id", "patient"),
}
_WITH_A_ROLE = {name for role, names in USUAL_NAMES.items() if role != "images" for name in names}


def as_tensors(batch: Any) -> Any:
    """Return a batch with its arrays, and its lists of numbers, labels or images of one size, as tensors.

    Of a list of items, a mapping each with an image, it is the mapping of their columns.
    """
    if isinstance(batch, (list, tuple)) and len(batch) > 0 and all(map(_is_item, batch)):
        batch = {name: [item[name] for item in batch] for name in batch[0] if all(name in item for item in batch)}
    if isinstance(batch, Mapping):
        return {name: _as_tensor(value) for name, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_as_tensor(part) for part in batch]
    return _as_tensor(batch)


def _is_item(part: Any) -> bool:
    """Return whether a part is an image with what belongs to it, before a loader has made a batch of several."""
    if not isinstance(part, Mapping):
        return False
    named = (value for name, value in part.items() if str(name).lower() in USUAL_NAMES["images"])
    return getattr(next(named, None), "ndim", 0) == 3


def _as_tensor(part: Any) -> Any:
    if type(part).__module__ == "numpy" and hasattr(part, "dtype") and part.dtype.kind in "biuf":
        return torch.as_tensor(part)
    if not isinstance(part, (list, tuple)) or not part:
        return part
    if all(isinstance(one, (bool, int, float)) for one in part):
        return torch.tensor(part)
    tensors = [_as_tensor(one) for one in part]
    alike = all(isinstance(one, Tensor) for one in tensors) and len({one.shape for one in tensors}) == 1
    return torch.stack(tensors) if alike and tensors[0].ndim in {0, 3} and type(tensors[0]) is Tensor else part


def split_batch(batch: Any, arguments: ForwardArguments) -> tuple[Any, dict[str, Any]]:
    """Return the batch without what forward wants beside the image, and that by the arguments' names.

    Of a mapping, what has the name of an argument; labels, masks, boxes and ids only where the argument has no default.
    Of a tuple, the parts beside image and labels, or those that stand in one group with the image, in the order of the
    arguments that have no default. What goes into forward is no annotation; labels that do remain labels.

    Raises:
        TypeError: If the batch does not hold what forward needs.
        ValueError: If it cannot be told which part is the labels.
    """
    if isinstance(batch, Mapping):
        return _from_mapping(batch, arguments)
    if not isinstance(batch, (list, tuple)) or not batch:
        return batch, {}
    if isinstance(batch[0], Mapping):
        inputs, extra = _from_mapping(batch[0], arguments)
        return [inputs, *batch[1:]], extra
    if _is_group(batch[0]):
        return _from_group(batch, arguments)
    return _from_parts(batch, arguments) if arguments.needed else (batch, {})


def _from_mapping(batch: Mapping[Any, Any], arguments: ForwardArguments) -> tuple[dict[Any, Any], dict[str, Any]]:
    by_name = {str(name): name for name in batch}
    lowered = {name.lower(): name for name in by_name}
    image = next((lowered[name] for name in USUAL_NAMES["images"] if name in lowered), None)
    first = next(iter(arguments.names), None)
    if image not in arguments.names and first in by_name and getattr(batch[by_name[first]], "ndim", 0) == 4:
        image = first
    wanted = [name for name in arguments.names if name in by_name and name != image]
    wanted = [name for name in wanted if name.lower() not in _WITH_A_ROLE or arguments.is_needed(name)]
    extra = {name: batch[by_name[name]] for name in wanted}
    _check_needed(arguments, extra, batch)
    inputs = {key: value for name, key in by_name.items() for value in [batch[key]] if name not in extra}
    labels = {key: batch[by_name[key]] for key in wanted if key.lower() in USUAL_NAMES["labels"]}
    renamed = {} if image is None else {"images": inputs.pop(by_name[image])}
    return {**renamed, **inputs, **labels}, extra


def _from_group(batch: Sequence[Any], arguments: ForwardArguments) -> tuple[Sequence[Any], dict[str, Any]]:
    image, *others = batch[0]
    if len(others) > len(arguments.beside):
        raise TypeError(
            f"Expected {arguments!r} to take the {len(others) + 1} parts of the batch's first group one by one, but it "
            f"takes {max(len(arguments.names), 1)}: name a module that does, {arguments.named_below}. {HINT}"
        )
    return [image, *batch[1:]], dict(zip(arguments.beside, others, strict=False))


def _from_parts(batch: Sequence[Any], arguments: ForwardArguments) -> tuple[Sequence[Any], dict[str, Any]]:
    place = next((i for i, part in enumerate(batch) if isinstance(part, Tensor) and part.ndim == 4), None)
    if place is None:
        return batch, {}
    others = [*batch[:place], *batch[place + 1 :]]
    names = arguments.needed
    if len(others) == len(names):
        candidates = others
    else:
        labels = _labels_among(others)
        if len(others) > len(names) and labels is None:
            raise ValueError(
                f"Expected to tell the labels from what {arguments!r} wants beside the image, but the batch holds "
                f"{[_described(part) for part in batch]}. {HINT} `extra={{{names[0]!r}: ...}}` goes into forward."
            )
        candidates = [part for part in others if part is not labels]
    extra = dict(zip(names, candidates, strict=False))
    _check_needed(arguments, extra, batch)
    used = [part for name, part in extra.items() if name.lower() not in USUAL_NAMES["labels"]]
    return [part for part in batch if not any(part is one for one in used)], extra


def _labels_among(parts: Sequence[Any]) -> Any:
    """Return the one part that can be labels: the only flat one, or the only column of whole numbers among these."""
    flat = [part for part in parts if not isinstance(part, Mapping) and getattr(part, "ndim", 1) in {1, 2}]
    flat = [part for part in flat if not (isinstance(part, (list, tuple)) and part and isinstance(part[0], str))]
    whole = [
        part for part in flat if isinstance(part, Tensor) and not part.is_floating_point() and part[0].numel() == 1
    ]
    if len(flat) == 1:
        return flat[0]
    return whole[0] if len(whole) == 1 else None


def _check_needed(arguments: ForwardArguments, extra: Mapping[str, Any], batch: Any) -> None:
    image = arguments.image(extra)
    missing = [name for name in arguments.names if name not in extra and name != image and arguments.is_needed(name)]
    if missing:
        held = sorted(map(str, batch)) if isinstance(batch, Mapping) else [_described(part) for part in batch]
        raise TypeError(
            f"Expected the batch to hold `{missing[0]}`, which {arguments!r} wants beside the image, but it holds "
            f"{held}. {HINT} `extra={{{missing[0]!r}: ...}}` goes into forward; or name a module that takes images "
            f"alone, {arguments.named_below}."
        )


def _is_group(part: Any) -> bool:
    return isinstance(part, (list, tuple)) and len(part) > 1 and isinstance(part[0], Tensor) and part[0].ndim == 4


def _described(part: Any) -> str:
    return shape(part) if isinstance(part, Tensor) else type(part).__name__
