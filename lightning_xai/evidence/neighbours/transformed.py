"""What happens to the heatmap when the image is turned, mirrored, cropped and coarsened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.evidence import Evidence

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

TRANSFORMS = ("rotation", "flip", "crop", "scale")


@dataclass(frozen=True)
class TransformedMaps:
    """What came of the T transformed versions of each image, in the order of `TRANSFORMS`.

    Attributes:
        heatmaps: m(T x) for the class of x, float32 (N, T, H, W).
        same_prediction: Whether T x has the prediction of x (class of the largest logit), boolean (N, T).
    """

    heatmaps: Tensor
    same_prediction: Tensor


@dataclass(frozen=True)
class Transformed(Evidence[TransformedMaps]):
    """Heatmaps and predictions of four transformed versions of each image, all of the image's size, bilinear.

    Args:
        rotation: Degrees about the centre; what comes in from outside is the mirrored image.
        crop: Share of height and width around the centre that is enlarged to the full size.
        scale: The image is resized to this share of its size and back, so that it loses detail.

    Raises:
        TypeError: If a setting is no number.
        ValueError: If a setting is out of range.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target", "explainer"})

    rotation: float = 15.0
    crop: float = 0.9
    scale: float = 0.75

    def __post_init__(self) -> None:
        """Check the settings."""
        check_at_least(self.rotation, -360.0, "rotation")
        for name in ("crop", "scale"):
            share = getattr(self, name)
            check_at_least(share, 0.0, name, strict=True)
            if share > 1.0:
                raise ValueError(f"Expected `{name}` to be a share, at most 1, but got {share}.")

    def evaluations(self, explaining: int = 1) -> int:
        """Return one evaluation and one heatmap per transform, and the unchanged image."""
        return len(TRANSFORMS) * (1 + explaining) + 1

    def collect(self, case: Case) -> TransformedMaps:
        """Return heatmaps and predictions; chunks run across images and transforms."""
        predicted, heatmaps, same = case.logits.argmax(1), [], []
        for chunk in case.classifier.chunks(len(case) * len(TRANSFORMS)):
            flat_index = torch.arange(chunk.start, chunk.stop, device=case.images.device)
            image_index, transform_index = flat_index // len(TRANSFORMS), flat_index % len(TRANSFORMS)
            images = self._transformed(case.images[image_index], transform_index)
            classifier = case.classifier.rows(image_index)
            same.append(classifier.logits(images).argmax(1) == predicted[image_index])
            heatmaps.append(case.explainer(classifier, images, case.target[image_index]))
        size = (len(case), len(TRANSFORMS))
        return TransformedMaps(torch.cat(heatmaps).view(*size, *case.images.shape[2:]), torch.cat(same).view(size))

    def apply(self, transform: str, images: Tensor) -> Tensor:
        """Return T x for images, or heatmaps with a channel axis, (N, C, H, W).

        Resampled in float64 and rounded, so that flat areas stay flat.
        """
        if transform == "flip":
            return images.flip(-1)
        exact, size = images.double(), (images.shape[2], images.shape[3])
        if transform == "scale":
            smaller = (max(round(self.scale * size[0]), 1), max(round(self.scale * size[1]), 1))
            for old, new in ((size, smaller), (smaller, size)):
                exact = _bilinear(exact, *(_resized(*pair, images.device) for pair in zip(old, new, strict=True)))
        else:
            exact = _bilinear(exact, *self._sources(transform, size, images.device))
        return exact.to(images.dtype)

    def valid(self, transform: str, size: tuple[int, int], device: torch.device) -> Tensor:
        """Return which pixels of T x come from inside x, boolean (H, W); all but those of a rotation's corners."""
        if transform != "rotation":
            return torch.ones(size, dtype=torch.bool, device=device)
        rows, columns = self._sources(transform, size, device)
        return (rows >= -0.5) & (rows <= size[0] - 0.5) & (columns >= -0.5) & (columns <= size[1] - 0.5)

    def _sources(self, transform: str, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return row and column in x of each pixel of a rotation or a crop, float64 (H, W)."""
        angle = math.radians(self.rotation) if transform == "rotation" else 0.0
        stretch = self.crop if transform == "crop" else 1.0
        row, column = (torch.arange(length, dtype=torch.float64, device=device) - (length - 1) / 2 for length in size)
        down, right = row[:, None], column[None, :]
        rows = stretch * (math.cos(angle) * down + math.sin(angle) * right) + (size[0] - 1) / 2
        columns = stretch * (math.cos(angle) * right - math.sin(angle) * down) + (size[1] - 1) / 2
        return rows, columns

    def _transformed(self, images: Tensor, transform_index: Tensor) -> Tensor:
        transformed = torch.empty_like(images)
        for index, transform in enumerate(TRANSFORMS):
            rows = (transform_index == index).nonzero()[:, 0]
            if len(rows):
                transformed[rows] = self.apply(transform, images[rows])
        return transformed


def _resized(old: int, new: int, device: torch.device) -> Tensor:
    """Return the place along an axis of ``old`` pixels of each of ``new`` pixels, float64 (new,)."""
    return (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * (old / new) - 0.5


def _bilinear(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the values of ``images`` (N, C, H, W) at places between pixels, mirrored outside, (N, C, h, w).

    Args:
        images: float64.
        rows: (h, w), or (h,) for places on a grid.
        columns: (h, w), or (w,).
    """
    if rows.ndim == 1:
        rows, columns = rows[:, None], columns[None, :]
    top, bottom, down = _between(rows, images.shape[2])
    left, right, along = _between(columns, images.shape[3])
    above = images[:, :, top, left] * (1 - along) + images[:, :, top, right] * along
    below = images[:, :, bottom, left] * (1 - along) + images[:, :, bottom, right] * along
    return above * (1 - down) + below * down


def _between(place: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels before and after each place, and its distance from the first in [0, 1)."""
    place = (place.round(decimals=9) + 0.5).abs() % (2 * length)  # a hair beside a pixel's centre is the pixel
    place = (torch.where(place > length, 2 * length - place, place) - 0.5).clamp(0, length - 1)
    first = place.floor().long()
    return first, (first + 1).clamp(max=length - 1), place - first
