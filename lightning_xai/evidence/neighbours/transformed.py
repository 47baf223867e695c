"""What happens to the heatmap when the image is turned, mirrored, cropped and coarsened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.neighbours.resampling import bilinear, inside, places_along, turned_places

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
                exact = bilinear(exact, *(places_along(*pair, images.device) for pair in zip(old, new, strict=True)))
        else:
            exact = bilinear(exact, *self._sources(transform, size, images.device))
        return exact.to(images.dtype)

    def valid(self, transform: str, size: tuple[int, int], device: torch.device) -> Tensor:
        """Return which pixels of T x come from inside x, boolean (H, W); all but those of a rotation's corners."""
        if transform != "rotation":
            return torch.ones(size, dtype=torch.bool, device=device)
        return inside(*self._sources(transform, size, device), size)

    def _sources(self, transform: str, size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return row and column in x of each pixel of a rotation or a crop, float64 (H, W)."""
        return turned_places(
            size,
            device,
            degrees=self.rotation if transform == "rotation" else 0.0,
            share=self.crop if transform == "crop" else 1.0,
        )

    def _transformed(self, images: Tensor, transform_index: Tensor) -> Tensor:
        transformed = torch.empty_like(images)
        for index, transform in enumerate(TRANSFORMS):
            rows = (transform_index == index).nonzero()[:, 0]
            if len(rows):
                transformed[rows] = self.apply(transform, images[rows])
        return transformed
