"""What the perturbation methods share: the target's probability of changed versions of images, chunk by chunk."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier


class BuildVersions(Protocol):
    """Makes versions of images."""

    def __call__(self, image_index: Tensor, version_index: Tensor, /) -> Tensor:
        """Return changed images (m, C, H, W) for int64 (m,) each."""


class ReadScores(Protocol):
    """Reads the scores of versions of images, right after these were built."""

    def __call__(self, image_index: Tensor, version_index: Tensor, logits: Tensor, /) -> Tensor:
        """Return what is needed of ``logits`` (m, K), (m, ...)."""


class PerturbationExplainer(Explainer):
    """Explain by the target's probability of changed versions of the image, of which no gradient is needed.

    Versions are numbered, and version v is the same change for every image, so that an image's map does not depend on
    its batch. They run across images in chunks of `Classifier.chunk_size`, of which only one exists at a time: memory
    does not grow with their number. A plain module is given chunks as large as the batch; wrap it in
    ``Classifier(model, chunk_size=64)`` to explain one image quickly.
    """

    def version_scores(
        self, classifier: Classifier, images: Tensor, versions: int, build: BuildVersions, read: ReadScores
    ) -> Tensor:
        """Return what is read of ``versions`` versions of each image, float32 (n, versions, ...).

        Args:
            classifier: The model.
            images: (n, C, H, W).
            versions: Their number.
            build: Makes versions of images; a chunk holds all images of one version before the next.
            read: Called with the logits of each chunk right after it was built.
        """
        count = len(images)

        def indices(chunk: slice) -> tuple[Tensor, Tensor]:
            place = torch.arange(chunk.start, chunk.stop, device=images.device)
            return place % count, place // count

        values = classifier.evaluate(
            count * versions,
            lambda chunk: build(*indices(chunk)),
            lambda logits, chunk: read(*indices(chunk), logits),
            owners=lambda chunk: indices(chunk)[0],
        )
        return values.view(versions, count, *values.shape[1:]).transpose(0, 1)


def probability_of(classifier: Classifier, target: Tensor) -> ReadScores:
    """Return what reads the probability of each image's target (n,)."""
    return lambda image, _, logits: classifier.select(logits, target[image], "probability")


def both_sides_of(classifier: Classifier, target: Tensor) -> ReadScores:
    """Return what reads p and −(1 − p) of each image's target (n,), (m, 2); the latter is exact where p rounds to 1."""

    def read(image: Tensor, _: Tensor, logits: Tensor) -> Tensor:
        own = target[image]
        return torch.stack(
            [classifier.select(logits, own, "probability"), -classifier.probability_of_others(logits, own)], 1
        )

    return read


def exact_side(scores: Tensor, intact: Tensor) -> Tensor:
    """Return p, or p − 1 for images that the model is rather sure of, so that differences are exact either way.

    Args:
        scores: (n, versions, 2); see `both_sides_of`.
        intact: Those of the unchanged images, (n, 2).

    Returns:
        (n, versions).
    """
    return torch.where(intact[:, None, 0] > 0.5, scores[..., 1], scores[..., 0])
