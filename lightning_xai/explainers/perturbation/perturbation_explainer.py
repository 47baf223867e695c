"""What the perturbation methods share: the target's probability of changed versions of images, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier

Build: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(index of the version, index of the image), int64 (m,) each -> changed images (m, C, H, W)."""

Collect: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]
"""(index of the version, index of the image, probability of the target), (m,) each, of a chunk."""


class PerturbationExplainer(Explainer):
    """Explain by the target's probability of changed versions of the image, of which no gradient is needed.

    Versions are numbered, and version v is the same change for every image, so that an image's map does not depend on
    its batch. They run across images in chunks of `Classifier.chunk_size`, of which only one exists at a time: memory
    does not grow with their number. A plain module is given chunks as large as the batch; wrap it in
    ``Classifier(model, chunk_size=64)`` to explain one image quickly.
    """

    def probabilities(
        self,
        classifier: Classifier,
        images: Tensor,
        target: Tensor,
        versions: int,
        build: Build,
        collect: Collect | None = None,
    ) -> Tensor:
        """Return the target's probability of ``versions`` versions of each image, float32 (n, versions).

        Args:
            classifier: The model.
            images: (n, C, H, W).
            target: int64 (n,).
            versions: Their number.
            build: Makes versions of images; a chunk holds all images of one version before the next.
            collect: Told the probabilities of each chunk.
        """
        count = len(images)

        def numbers(chunk: slice) -> tuple[Tensor, Tensor]:
            number = torch.arange(chunk.start, chunk.stop, device=images.device)
            return number // count, number % count

        def built(chunk: slice) -> Tensor:
            with exactly(images):
                return build(*numbers(chunk))

        def read(logits: Tensor, chunk: slice) -> Tensor:
            version, image = numbers(chunk)
            with exactly(images):
                scores = classifier.select(logits, target[image], "probability")
                if collect is not None:
                    collect(version, image, scores)
            return scores

        return classifier.evaluate(count * versions, built, read).view(versions, count).T


def exactly(images: Tensor) -> AbstractContextManager[Any]:
    """Return a context without the user's autocast, which is for the model and not for this arithmetic."""
    return torch.autocast(images.device.type, enabled=False)


def check_value(value: object, name: str) -> None:
    """Raise TypeError or ValueError unless ``value`` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Expected `{name}` to be a number, but got {type(value).__name__}.")
    if not math.isfinite(value):
        raise ValueError(f"Expected `{name}` to be finite, but got {value}.")
