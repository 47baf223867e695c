"""Images with what is known about them, in one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lightning_xai._checks import check_images, shape
from lightning_xai.evidence.annotations import check_boxes, check_regions
from lightning_xai.model.extra import checked_extra, rows_of

VOID = 255
"""What labels and masks hold where nobody knows, by convention."""
HINT = "Pass `sample_from_batch=`, a function of the batch that returns a Sample."
"""What settles every doubt about a batch."""


@dataclass(frozen=True)
class Sample:
    """A batch as the monitor reads it.

    Attributes:
        images: Floating point (N, C, H, W), as the model sees them; of a model that converts uint8 by itself, uint8.
        labels: int64 (N,) classes; or float32 (N, K), a number in [0, 1] per class: distributions over the classes
            where every row sums to 1, else multi-label, positive above 0.5. None if the batch has none.
        masks: Boolean (N, H, W), the annotated object; None if the batch has none.
        boxes: float32 (N, M, 4), x0, y0, x1, y1 in pixels, NaN where an image has fewer; None if the batch has none.
        box_labels: Class of each box, int64 (N, M), -1 where none; None if boxes have no class.
        class_masks: Boolean (N, K, H, W), as given where masks had several planes: of the classes, if there are as many
            planes as classes (then only the explained one's counts), else of the objects. `masks` is their union.
        ids: What a reader knows each image by, such as a file or a patient; None if the batch does not say.
        extra: What the model's forward wants beside the image: name of its argument -> a value per image, a tensor
            (N, ...), a list of N, or a mapping of these; None if it wants nothing. Everything that is made of an image
            goes through the model with that image's own.
        regions: Named areas that metrics such as `Reliance` ask about one by one: name -> masks (N, H, W), boolean or
            numbers, or boxes (N, 4), (N, M, 4) or a sequence of (M_i, 4), kept as masks; an image may lack one. None if
            the batch names none.
        groups: To which group each image belongs, such as its site or scanner: N whole numbers or texts, kept as texts;
            None if the batch does not say.
    """

    images: Tensor
    labels: Tensor | None = None
    masks: Tensor | None = None
    boxes: Tensor | None = None
    box_labels: Tensor | None = None
    class_masks: Tensor | None = None
    ids: Sequence[str] | None = None
    extra: Mapping[str, Any] | None = None
    regions: Mapping[str, Any] | None = None
    groups: Sequence[int | str] | Tensor | None = None

    def __post_init__(self) -> None:
        """Check the images and bring everything else into its one form."""
        images = check_images(_as_floats(self.images), "images of the batch").detach().as_subclass(Tensor)
        class_masks = _class_masks(self.masks, images) if self.class_masks is None else self.class_masks
        boxes, box_labels = _boxes(self.boxes, self.box_labels, images)
        parts = {
            "images": images,
            "labels": None if self.labels is None else _labels(self.labels, images),
            "masks": None if self.masks is None else _masks(self.masks, images),
            "boxes": boxes,
            "box_labels": box_labels,
            "class_masks": class_masks,
            "ids": None if self.ids is None else _ids(self.ids, images),
            "extra": checked_extra(self.extra, len(images), device=images.device) if self.extra else None,
            "regions": _regions(self.regions, images),
            "groups": None if self.groups is None else checked_groups(self.groups, len(images)),
        }
        for name, part in parts.items():
            object.__setattr__(self, name, part)

    @property
    def annotated(self) -> bool:
        """Whether there are masks or boxes."""
        return self.masks is not None or self.boxes is not None

    @property
    def has_annotated_classes(self) -> bool:
        """Whether masks or boxes say which class they are of."""
        return self.class_masks is not None or self.box_labels is not None

    def first(self) -> Sample:
        """Return a copy of the first image with its annotations."""
        return Sample(**{name: _first(part) for name, part in vars(self).items()})


def sample_of_checked(**parts: Any) -> Sample:
    """Return a sample of parts of others, as they are: what was checked of a batch may not hold for one image of it."""
    sample = object.__new__(Sample)
    for part in fields(Sample):
        object.__setattr__(sample, part.name, parts.get(part.name))
    return sample


def _as_floats(images: Any) -> Any:
    """Return uint8 images, which a module may convert by itself, as floating point: gradients need that."""
    return images.float() if isinstance(images, Tensor) and images.dtype == torch.uint8 else images


def _numbers(given: Any, images: Tensor, name: str) -> Tensor:
    try:
        return torch.as_tensor(given, device=images.device).as_subclass(Tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        inner = f" of {type(given[0]).__name__}" if isinstance(given, Sequence) and given else ""
        raise TypeError(
            f"Expected `{name}` of the batch to be numbers, but got {type(given).__name__}{inner}. {HINT}"
        ) from error


def _labels(given: Any, images: Tensor) -> Tensor:
    labels = _numbers(given, images, "labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in {1, 2} or len(labels) != len(images):
        raise ValueError(
            f"Expected `labels` of the batch to have shape ({len(images)},) or (N, K), but got {shape(labels)}."
        )
    values = labels.double()
    is_share = (values >= 0) & (values <= 1)
    if labels.ndim == 2:
        if not bool(is_share.all()):
            raise _no_share(float(values[~is_share][0]))
        return values.float()
    if bool((values == values.round()).all()):
        return labels.long()
    if bool(is_share.all()):
        return (values > 0.5).long()  # of two classes, smoothed
    raise ValueError(
        "Expected `labels` of the batch to be class indices, or fractions in [0, 1] of two classes, but got "
        f"{float(values[values != values.round()][0]):g}. {HINT}"
    )


def _no_share(value: float) -> ValueError:
    """Return the error about a number in labels of several columns that says neither yes nor no."""
    question = "columns of several tasks, or other data?"
    if not value >= 0:
        question = "a label that is not known? It may be 0, because an image is explained for a class that it has;"
    return ValueError(
        "Expected `labels` of several columns to hold a number in [0, 1] for each class, but got "
        f"{value:g}: {question} {HINT}"
    )


def _masks(given: Any, images: Tensor) -> Tensor:
    positive = _positive(given, images)
    masks = positive.any(1) if positive.ndim == 4 else positive
    if len(masks) > 1 and bool(masks.all()):
        raise ValueError(
            "Expected `masks` of the batch to mark an object, but every pixel of every image is marked: a map of "
            f"classes with the background above 0, or a plane of background? Only what is > 0 is the object. {HINT}"
        )
    return masks


def _class_masks(given: Any, images: Tensor) -> Tensor | None:
    if given is None:
        return None
    positive = _positive(given, images)
    return positive if positive.ndim == 4 and positive.shape[1] > 1 else None


def _positive(given: Any, images: Tensor) -> Tensor:
    """Return where masks are positive, boolean (N, H, W) or (N, K, H, W)."""
    masks = _numbers(given, images, "masks")
    if masks.ndim not in {3, 4} or (len(masks), *masks.shape[-2:]) != (len(images), *images.shape[2:]):
        expected = (len(images), *images.shape[2:])
        raise ValueError(
            f"Expected `masks` of the batch to have shape {expected} to match its images, but got {shape(masks)}."
        )
    if not masks.is_floating_point() and masks.dtype != torch.bool and bool((masks == VOID).any()):
        others = masks[(masks != VOID) & (masks > 0)]
        if len(others):
            raise ValueError(
                f"Expected `masks` of the batch to be positive where the object is, but got {int(others[0])} and "
                f"{VOID}: is {VOID} the object, or are these pixels that nobody knows? {HINT}"
            )
    return masks > 0


def _boxes(given: Any, labels: Any, images: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if given is None:
        return None, None
    boxes = check_boxes(_without_padding(given), images)
    known = boxes[~boxes.isnan().any(-1)]
    if len(known) and float(known.max()) <= 1.0 and min(images.shape[2:]) > 1:
        raise ValueError(
            "Expected `boxes` of the batch in pixels, but no coordinate is greater than 1 for images of "
            f"{tuple(images.shape[2:])}: shares of the image? {HINT}"
        )
    return boxes, None if labels is None else _box_labels(labels, given, boxes)


def _without_padding(boxes: Any) -> Any:
    """Return boxes with rows of zeros, or of -1, by which some loaders fill up, as rows of NaN."""
    if not isinstance(boxes, Tensor) or boxes.ndim != 3:
        return boxes
    filling = (boxes == 0).all(-1, keepdim=True) | (boxes < 0).all(-1, keepdim=True)
    return torch.where(filling, torch.nan, boxes.float())


def _box_labels(given: Any, boxes_given: Any, boxes: Tensor) -> Tensor:
    """Return the class of each box, (N, M), padded as the boxes are."""
    labels = torch.full(boxes.shape[:2], -1, dtype=torch.int64, device=boxes.device)
    rows = list(given)
    if len(rows) != len(boxes):
        raise ValueError(f"Expected `box_labels` of the batch for {len(boxes)} images, but got {len(rows)}.")
    for image, row in enumerate(rows):
        classes = torch.as_tensor(row, device=boxes.device).flatten().long()
        number = len(boxes_given[image]) if torch.as_tensor(boxes_given[image]).ndim == 2 else 1
        if len(classes) != number:
            raise ValueError(
                f"Expected a label for each of the {number} boxes of image {image}, but got {len(classes)}."
            )
        labels[image, : len(classes)] = classes
    return torch.where(boxes.isnan().any(-1), -1, labels)


def _ids(given: Any, images: Tensor) -> tuple[str, ...]:
    names = given.tolist() if isinstance(given, Tensor) else list(given)
    if len(names) != len(images):
        raise ValueError(f"Expected `ids` of the batch for {len(images)} images, but got {len(names)}.")
    return tuple(map(str, names))


def checked_groups(given: Any, count: int, name: str = "groups") -> tuple[str, ...]:
    """Return the group of each image as a text.

    Args:
        given: Whole numbers or texts, one per image.
        count: How many images there are.
        name: What the error calls it.

    Raises:
        TypeError: If one is neither.
        ValueError: If there is not one per image, or one is empty.
    """
    is_array = hasattr(given, "tolist") and not isinstance(given, (str, bytes))
    listed = given.tolist() if is_array else given
    if isinstance(listed, (str, bytes, Mapping)) or not isinstance(listed, Sequence):
        raise TypeError(f"Expected `{name}` to be a group for each image of the batch, but got {_kind(given)}.")
    labels = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in listed]  # a column
    labels = [one.tolist() if hasattr(one, "tolist") else one for one in labels]
    if len(labels) != count:
        raise ValueError(f"Expected `{name}` of the batch for {count} images, but got {len(labels)}.")
    for one in labels:
        is_whole = isinstance(one, float) and one.is_integer()
        if not isinstance(one, (str, int)) and not is_whole:
            raise TypeError(f"Expected `{name}` to be whole numbers or texts, but got {one!r}, {_kind(one)}.")
        if one == "":
            raise ValueError(f"Expected `{name}` to name every image's group, such as 'unknown', but got ''.")
    return tuple(str(int(one)) if isinstance(one, float) else str(one) for one in labels)


def _kind(given: Any) -> str:
    return f"a Tensor of shape {shape(given)}" if isinstance(given, Tensor) else type(given).__name__


def _regions(given: Any, images: Tensor) -> dict[str, Tensor] | None:
    """Return named areas as boolean masks (N, H, W) on the device of the images; None if none is named."""
    if given is None or (isinstance(given, Mapping) and not given):
        return None
    if isinstance(given, Mapping):
        given = {name: _region(area, images, f"regions[{name!r}]") for name, area in given.items()}
    return check_regions(given, images)


def _region(area: Any, images: Tensor, name: str) -> Any:
    if isinstance(area, (list, tuple)) and all(isinstance(boxes, Tensor) for boxes in area):
        return area
    numbers = _numbers(area, images, name)
    is_of_boxes = numbers.dtype != torch.bool and numbers.shape[1:] != images.shape[2:]
    return _without_padding(numbers) if is_of_boxes else numbers


def _first(part: Any) -> Any:
    """Return a copy of what belongs to the first image."""
    if isinstance(part, Mapping):
        return rows_of(part, torch.zeros(1, dtype=torch.int64))
    return part[:1].clone() if isinstance(part, Tensor) else None if part is None else part[:1]
