"""Changed versions of images, built chunk by chunk across images and versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from lightning_xai.model.classifier import Score

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


class BuildChangedImages(Protocol):
    """Makes changed versions of a case's images when a chunk of them is due."""

    def __call__(self, image_index: Tensor, version_index: Tensor) -> Tensor:
        """Return images (n, C, H, W).

        Args:
            image_index: Which image is changed, int64 (n,).
            version_index: Which of its versions is made, int64 (n,).
        """


def scores_of_changed_images(
    case: Case, num_versions: int, build: BuildChangedImages, score: Score = "probability", *, lowered: bool = False
) -> Tensor:
    """Return the target's score of ``num_versions`` changed versions of each image, float32 (N, num_versions).

    No more than a chunk of changed images exists at a time. ``lowered`` is for what compares them with
    `Case.lowered_logits`.
    """

    def read(logits: Tensor, image_index: Tensor) -> Tensor:
        return case.classifier.select(logits, case.target[image_index], score)

    return _evaluated(case, num_versions, build, read, lowered=lowered)


def logits_of_changed_images(case: Case, num_versions: int, build: BuildChangedImages) -> Tensor:
    """Return the logits of ``num_versions`` changed versions of each image, float32 (N, num_versions, K)."""
    return _evaluated(case, num_versions, build, lambda logits, _: logits)


def _evaluated(
    case: Case,
    num_versions: int,
    build: BuildChangedImages,
    read: Callable[[Tensor, Tensor], Tensor],
    *,
    lowered: bool = False,
) -> Tensor:
    device = case.images.device

    def indices(chunk: slice) -> tuple[Tensor, Tensor]:
        flat_index = torch.arange(chunk.start, chunk.stop, device=device)
        return flat_index // num_versions, flat_index % num_versions

    classifier = case.classifier.lowered() if lowered else case.classifier
    values = classifier.evaluate(
        len(case) * num_versions,
        lambda chunk: build(*indices(chunk)),
        lambda logits, chunk: read(logits, indices(chunk)[0]),
        owners=lambda chunk: indices(chunk)[0],
    )
    return values.view(len(case), num_versions, *values.shape[1:])
