"""From whatever a validation loader yields to images, labels, masks and boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_images, shape
from lightning_xai.evidence.annotations import check_boxes

_NAMES = {
    "images": ("images", "image", "imgs", "img", "pixel_values", "inputs", "input", "x", "data"),
    "labels": ("labels", "label", "targets", "target", "y", "classes", "class"),
    "masks": ("masks", "mask", "segmentations", "segmentation"),
    "boxes": ("boxes", "box", "bboxes", "bbox"),
}


@dataclass(frozen=True)
class Sample:
    """A batch as the monitor reads it.

    Attributes:
        images: Floating point (N, C, H, W), as the model sees them.
        labels: int64 (N,) classes, or boolean (N, K) for multi-label; None if the batch has none.
        masks: Boolean (N, H, W), the annotated object; None if the batch has none.
        boxes: float32 (N, M, 4), x0, y0, x1, y1 in pixels, NaN where an image has fewer; None if the batch has none.
    """

    images: Tensor
    labels: Tensor | None = None
    masks: Tensor | None = None
    boxes: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the images and bring labels, masks and boxes into their one form."""
        images = check_images(self.images, "images of the batch").detach().as_subclass(Tensor)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", None if self.labels is None else _labels(self.labels, images))
        object.__setattr__(self, "masks", None if self.masks is None else _masks(self.masks, images))
        object.__setattr__(self, "boxes", None if self.boxes is None else check_boxes(self.boxes, images))

    @property
    def annotated(self) -> bool:
        """Whether there are masks or boxes."""
        return self.masks is not None or self.boxes is not None

    def first(self) -> Sample:
        """Return a copy of the first image with its annotations."""
        parts = (self.images, self.labels, self.masks, self.boxes)
        return Sample(*(None if part is None else part[:1].clone() for part in parts))  # type: ignore[arg-type]


SampleFromBatch: TypeAlias = Callable[[Any], Sample]


def sample_from_batch(batch: Any) -> Sample:
    """Return the images, labels, masks and boxes of a batch.

    Args:
        batch: ``(images, labels)``, ``(images, labels, masks or boxes, ...)``, images alone, or a mapping with the
            usual names; the second of a pair may be a mapping with labels, masks and boxes. Torchvision's tensor types
            say by themselves what they are. Boxes without a type are x0, y0, x1, y1.

    Raises:
        TypeError: If no images are found, or labels or masks are no numbers; the message says what came.
        ValueError: If shapes do not fit.
    """
    found = _found(batch)
    if "images" not in found:
        raise TypeError(
            "Expected a batch (images, labels), (images, labels, masks), or a mapping with 'images' and 'labels', "
            f"but got {_described(batch)}. Pass `sample_from_batch=`, a function of the batch that returns a Sample."
        )
    return Sample(**found)


def _found(batch: Any) -> dict[str, Any]:
    if isinstance(batch, Mapping):
        return _from_mapping(batch)
    parts = list(batch) if isinstance(batch, Sequence) and not isinstance(batch, str) else [batch]
    found: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Mapping):
            found.update({k: v for k, v in _from_mapping(part).items() if k not in found})
        else:
            role = _role(part, found)
            if role is not None:
                found[role] = _in_corners(part)
    return found


def _from_mapping(batch: Mapping[Any, Any]) -> dict[str, Any]:
    lowered = {str(name).lower(): value for name, value in batch.items()}
    found = {}
    for role, names in _NAMES.items():
        name = next((name for name in names if name in lowered), None)
        if name is not None:
            value = lowered[name]
            nested = _from_mapping(value) if isinstance(value, Mapping) else {role: value}
            found.update(nested)
    return {role: _in_corners(value) for role, value in found.items()}


def _role(part: Any, found: Mapping[str, Any]) -> str | None:
    kind = type(part).__name__
    if kind in {"Mask", "BoundingBoxes"}:
        return "masks" if kind == "Mask" else "boxes"
    if not isinstance(part, Tensor):
        return "boxes" if _are_boxes(part) else None
    if "images" not in found:
        return "images" if part.ndim == 4 else None
    if part.ndim >= 3 and part.shape[-2:] == found["images"].shape[-2:]:
        # More channels are another view of the images, unless they say yes or no.
        return "masks" if part.ndim == 3 or part.shape[1] == 1 or part.dtype == torch.bool else None
    if "labels" not in found and part.ndim <= 2:
        return "labels"
    return "boxes" if part.ndim in {2, 3} and part.shape[-1] == 4 else None


def _are_boxes(part: Any) -> bool:
    several = isinstance(part, Sequence) and not isinstance(part, str) and len(part) > 0
    return several and all(isinstance(box, Tensor) and box.ndim and box.shape[-1] == 4 for box in part)


def _in_corners(value: Any) -> Any:
    """Return torchvision boxes, also a list of them, as x0, y0, x1, y1; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return [_in_corners(item) for item in value]
    if type(value).__name__ != "BoundingBoxes":
        return value
    from torchvision.ops import box_convert

    return box_convert(value.as_subclass(Tensor), value.format.value.lower(), "xyxy")


def _numbers(given: Any, images: Tensor, name: str) -> Tensor:
    try:
        return torch.as_tensor(given, device=images.device).as_subclass(Tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        inner = f" of {type(given[0]).__name__}" if isinstance(given, Sequence) and given else ""
        raise TypeError(
            f"Expected `{name}` of the batch to be a Tensor, but got {type(given).__name__}{inner}. "
            "Pass `sample_from_batch=`, a function of the batch that returns a Sample."
        ) from error


def _labels(given: Any, images: Tensor) -> Tensor:
    labels = _numbers(given, images, "labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in {1, 2} or len(labels) != len(images):
        raise ValueError(
            f"Expected `labels` of the batch to have shape ({len(images)},) or (N, K), but got {shape(labels)}."
        )
    return labels > 0.5 if labels.ndim == 2 else labels.long()


def _masks(given: Any, images: Tensor) -> Tensor:
    masks = _numbers(given, images, "masks")
    masks = masks.any(1) if masks.ndim == 4 else masks
    if masks.shape != (len(images), *images.shape[2:]):
        expected = (len(images), *images.shape[2:])
        raise ValueError(
            f"Expected `masks` of the batch to have shape {expected} to match its images, but got {shape(masks)}."
        )
    return masks > 0


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with keys {sorted(map(str, batch))}"
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return f"a {type(batch).__name__} of {[shape(p) if isinstance(p, Tensor) else type(p).__name__ for p in batch]}"
    return shape(batch) if isinstance(batch, Tensor) else type(batch).__name__
