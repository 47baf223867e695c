"""From whatever a validation loader yields to images, labels, masks and boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import shape
from lightning_xai.model.call import ForwardArguments
from lightning_xai.probing.extra_in_batch import USUAL_NAMES, as_tensors, split_batch
from lightning_xai.probing.sample import HINT, Sample, sample_of_checked

_FEW = 4  # channels, where images have no more
_OTHER_AXES = {
    2: "of flattened images keep the shape, and flatten them in `forward`",
    3: "signals cannot be explained; grey images get their axis of channels, (N, 1, H, W), by `sample_from_batch=`",
    5: "volumes and videos cannot be explained; of several crops of an image return one by `sample_from_batch=`",
    6: "volumes and videos cannot be explained; of several crops of an image return one by `sample_from_batch=`",
}

SampleFromBatch: TypeAlias = Callable[[Any], Sample]


def sample_from_batch(batch: Any, arguments: ForwardArguments | None = None) -> Sample:
    """Return the images, labels, masks and boxes of a batch, and what forward wants beside the image.

    Args:
        batch: ``(images, labels)``, ``(images, labels, masks or boxes, ...)``, images alone, or a mapping with the
            usual names; the second of a pair may be a mapping with labels, masks and boxes. Torchvision's tensor types
            say by themselves what they are. Boxes without a type are x0, y0, x1, y1.
        arguments: Those of the model's forward: what it wants beside the image is looked for by their names in a
            mapping, by their order in a tuple, and becomes `extra`; nothing is if None.

    Raises:
        TypeError: If no images are found, or labels or masks are no numbers; the message says what came.
        ValueError: If shapes do not fit.
    """
    inputs = as_tensors(batch)
    inputs, extra = (inputs, {}) if arguments is None else split_batch(inputs, arguments)
    found = _found(inputs)
    if "images" not in found:
        _refuse_other_sizes(inputs if isinstance(inputs, (list, tuple)) else [inputs])
        raise TypeError(
            "Expected a batch (images, labels), (images, labels, masks), or a mapping with 'images' and 'labels', "
            f"but got {_described(batch)}. {HINT}"
        )
    _refuse_other_sizes([found["images"]])
    _check_layout(found["images"])
    return Sample(**found, extra=extra or None)


def _refuse_other_sizes(parts: Sequence[Any]) -> None:
    """Raise ValueError if what should be images has another number of axes."""
    first = next((part for part in parts if isinstance(part, Tensor) and part.ndim and part.ndim != 4), None)
    if first is not None and first.ndim in _OTHER_AXES and not any(getattr(part, "ndim", 0) == 4 for part in parts):
        raise ValueError(
            "Expected images (N, C, H, W), because heatmaps are of two-dimensional images only, but the batch holds "
            f"{shape(first)}: {_OTHER_AXES[first.ndim]}."
        )


def unchecked_sample(batch: Any, arguments: ForwardArguments | None = None) -> Sample:
    """Return images, labels, ids and `extra` of a batch as `sample_from_batch` finds them, unchecked.

    No value is looked at, unless several parts could be the labels: nobody waits for a device.
    """
    inputs = as_tensors(batch)
    inputs, extra = (inputs, {}) if arguments is None else split_batch(inputs, arguments)
    found = _found(inputs)
    known = {name: found.get(name) for name in ("labels", "ids")}
    return sample_of_checked(images=found["images"], extra=extra, **known)


def _check_layout(images: Any) -> None:
    """Raise ValueError if the channels seem to come last: a heatmap would have other axes than its image."""
    if (
        isinstance(images, Tensor)
        and images.ndim == 4
        and images.shape[3] <= _FEW
        and min(images.shape[1:3]) > 2 * _FEW
    ):
        raise ValueError(
            f"Expected images (N, C, H, W), but got {shape(images)}, whose channels seem to come last. Return images "
            "with the channels first from `sample_from_batch=`, a function of the batch, and name a module that takes "
            "these: `Readout(forward=...)`."
        )


def _found(batch: Any) -> dict[str, Any]:
    if isinstance(batch, Mapping):
        return _from_mapping(batch)
    parts = list(batch) if isinstance(batch, Sequence) and not isinstance(batch, str) else [batch]
    found: dict[str, Any] = {}
    possible_labels: list[Tensor] = []
    for part in parts:
        if isinstance(part, Mapping) or _are_targets(part):
            named = _from_mapping(part if isinstance(part, Mapping) else _of_targets(part))
            found = {**named, **found}
            continue
        role = _role(part, found, is_first_flat=not possible_labels)
        if role == "labels":
            possible_labels.append(part)
        elif role is not None:
            found[role] = _in_corners(part)
    if possible_labels and "labels" not in found:
        found["labels"] = _chosen_labels(possible_labels)
    return found


def _chosen_labels(possible: list[Tensor]) -> Tensor:
    """Return the labels among the flat parts: the first that can be some and does not just count the images."""
    if len(possible) == 1:
        return possible[0]
    readable = [part for part in possible if _can_be_labels(part)]
    if len(readable) > 1 and _counts(readable[0]):
        readable = readable[1:]
    return readable[0] if readable else possible[0]


def _can_be_labels(part: Tensor) -> bool:
    """Return whether numbers can be classes, or say yes or no for each class."""
    values = part.detach().double()
    whole = bool((values == values.round()).all())
    if part.ndim == 2 and part.shape[1] > 1:
        return bool(((values >= 0) & (values <= 1)).all())
    return whole or bool(((values >= 0) & (values <= 1)).all())


def _counts(part: Tensor) -> bool:
    """Return whether a column goes up by one from image to image, as an index does and labels do not."""
    flat = part.flatten()
    return len(flat) > 2 and bool((flat.diff() == 1).all())


def _from_mapping(batch: Mapping[Any, Any]) -> dict[str, Any]:
    lowered = {str(name).lower(): value for name, value in batch.items()}
    found = {}
    for role, names in USUAL_NAMES.items():
        name = next((name for name in names if name in lowered), None)
        if name is not None:
            value = lowered[name]
            is_nested = isinstance(value, Mapping) and role != "regions"  # which has names of its own
            nested = _from_mapping(value) if is_nested else {role: value}
            found.update(nested)
    return {role: _in_corners(value) for role, value in found.items()}


def _are_targets(part: Any) -> bool:
    """Return whether a part is a list with a mapping per image, as targets of detection are."""
    return isinstance(part, (list, tuple)) and len(part) > 0 and all(isinstance(one, Mapping) for one in part)


def _of_targets(targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return labels, boxes and masks of images from a mapping per image; several labels are those of its boxes."""
    shared = [name for name in targets[0] if all(name in target for target in targets)]
    columns = {str(name): as_tensors([[target[name] for target in targets]])[0] for name in shared}
    found = {role: value for role, value in _from_mapping(columns).items() if role != "ids" or _are_names(value)}
    if isinstance(found.get("labels"), list) and "boxes" in found:
        found["box_labels"] = found.pop("labels")
    if isinstance(found.get("masks"), list) or getattr(found.get("masks"), "ndim", 0) == 4:
        found["masks"] = torch.stack([(torch.as_tensor(mask) > 0).flatten(0, -3).any(0) for mask in found["masks"]])
    return found


def _role(part: Any, found: Mapping[str, Any], *, is_first_flat: bool) -> str | None:
    """Return what a part of a tuple is, None if the monitor has no use for it."""
    kind = type(part).__name__
    if kind in {"Mask", "BoundingBoxes"}:
        return "masks" if kind == "Mask" else "boxes"
    if not isinstance(part, Tensor):
        named = "ids" if "ids" not in found and _are_names(part) else None
        return "boxes" if _are_boxes(part) else named
    if "images" not in found:
        return "images" if part.ndim == 4 else None
    is_flat = part.ndim in {1, 2}
    if part.ndim in {2, 3} and part.shape[-1] == 4 and not (is_flat and is_first_flat):
        return "boxes"
    return "labels" if is_flat else _role_of_maps(part, found["images"])


def _role_of_maps(part: Tensor, images: Tensor) -> str | None:
    if part.ndim < 3:
        return None
    is_plane = part.ndim == 3 or part.shape[1] == 1
    if part.shape[-2:] == images.shape[-2:]:
        # More channels are another view of the images, unless they say yes or no.
        return "masks" if is_plane or part.dtype == torch.bool else None
    if not is_plane:
        return None
    raise ValueError(
        f"Expected masks of the images' size {tuple(images.shape[-2:])}, but the batch holds a part of shape "
        f"{shape(part)}. Resize it with the images, or leave it out: {HINT}"
    )


def _are_boxes(part: Any) -> bool:
    several = isinstance(part, Sequence) and not isinstance(part, str) and len(part) > 0
    return several and all(isinstance(box, Tensor) and box.ndim and box.shape[-1] == 4 for box in part)


def _are_names(part: Any) -> bool:
    return isinstance(part, (list, tuple)) and len(part) > 0 and all(isinstance(name, str) for name in part)


def _in_corners(value: Any) -> Any:
    """Return torchvision boxes, also a list of them, as x0, y0, x1, y1; anything else as it is."""
    if isinstance(value, Mapping):
        return {name: _in_corners(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_in_corners(item) for item in value]
    if type(value).__name__ != "BoundingBoxes":
        return value
    from torchvision.ops import box_convert

    return box_convert(value.as_subclass(Tensor), value.format.value.lower(), "xyxy")


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with keys {sorted(map(str, batch))}"
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return f"a {type(batch).__name__} of {[shape(p) if isinstance(p, Tensor) else type(p).__name__ for p in batch]}"
    return shape(batch) if isinstance(batch, Tensor) else type(batch).__name__
