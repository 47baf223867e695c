"""What explainers share that compare an image with images of the data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_xai._checks import check_images, shape
from lightning_xai.explainers.explainer import Explainer


class ReferenceExplainer(Explainer):
    """Explain relative to reference images, a sample of the data distribution.

    The monitor supplies 64 images of the validation data where none were given; elsewhere they are an argument. An
    image's heatmap never depends on the other images of its batch.

    Args:
        references: Floating point (R, C, H, W), as the model sees them; None to supply them later.

    Raises:
        TypeError: If ``references`` is no floating-point tensor.
        ValueError: If its shape is wrong; when called, if there are none or their size differs from the images'.
    """

    def __init__(self, references: Tensor | None = None) -> None:
        super().__init__()
        self.references = None if references is None else _own_copy(references)

    @property
    def needs_references(self) -> bool:
        """Whether no reference images were given yet."""
        return self.references is None

    def with_references(self, references: Tensor) -> Self:
        """Return the same explainer with ``references`` (R, C, H, W)."""
        other = copy.copy(self)
        other.references = _own_copy(references)
        return other

    def references_for(self, images: Tensor) -> Tensor:
        """Return the reference images (R, C, H, W) on the device and in the precision of ``images``."""
        references = self.references
        if references is None:
            raise ValueError(
                f"Expected `references` (R, C, H, W), images of the data that {type(self).__name__} compares with, but "
                f"got None. Pass `{type(self).__name__}(references=images)`; the monitor supplies them by itself."
            )
        if references.shape[1:] != images.shape[1:]:
            expected = ("R", *images.shape[1:])
            raise ValueError(
                f"Expected `references` to have shape ({', '.join(map(str, expected))}) to match `images`, but got "
                f"{shape(references)}."
            )
        return references.to(images)


def _own_copy(references: Tensor) -> Tensor:
    """Return an own copy that later changes to the caller's tensor do not reach."""
    with torch.inference_mode(False):
        return check_images(references, "references").detach().clone()
