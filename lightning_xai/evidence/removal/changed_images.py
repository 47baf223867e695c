"""Changed versions of images, built chunk by chunk across images and versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.model.classifier import Score

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

Build = Callable[[Tensor, Tensor], Tensor]
"""(index of the image, index of its version), int64 (n,) each -> images (n, C, H, W)."""


def frame_scores(case: Case, versions: int, build: Build, score: Score = "probability") -> Tensor:
    """Return the target's score of ``versions`` changed versions of each image, float32 (N, versions).

    No more than a chunk of changed images exists at a time.
    """

    def read(logits: Tensor, image: Tensor) -> Tensor:
        return case.classifier.select(logits, case.target[image], score)

    return _evaluated(case, versions, build, read)


def frame_logits(case: Case, versions: int, build: Build) -> Tensor:
    """Return the logits of ``versions`` changed versions of each image, float32 (N, versions, K)."""
    return _evaluated(case, versions, build, lambda logits, _: logits)


def _evaluated(case: Case, versions: int, build: Build, read: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    device = case.images.device

    def numbers(chunk: slice) -> tuple[Tensor, Tensor]:
        frame = torch.arange(chunk.start, chunk.stop, device=device)
        return frame // versions, frame % versions

    values = case.classifier.evaluate(
        len(case) * versions,
        lambda chunk: build(*numbers(chunk)),
        lambda logits, chunk: read(logits, numbers(chunk)[0]),
    )
    return values.view(len(case), versions, *values.shape[1:])
