"""From one value per channel to one per pixel."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import check_choice

Reduction: TypeAlias = Literal["sum", "abs_max", "max"]
_REDUCTIONS = ("sum", "abs_max", "max")


def check_reduction(reduction: object) -> None:
    """Raise ValueError unless ``reduction`` is a known name."""
    check_choice(reduction, _REDUCTIONS, "reduction")


def reduced(attributions: Tensor, reduction: Reduction) -> Tensor:
    """Return one value per place.

    Args:
        attributions: (N, C, H, W), signed.
        reduction: ``"sum"`` of the channels: signed, and the map's total stays that of the attributions;
            ``"abs_max"``, the greatest magnitude of a channel, ≥ 0; ``"max"``, the greatest channel after each image's
            attributions were scaled to [0, 1] by their least and greatest value, as in "Saliency Maps Give a False
            Sense of Explanability to Image Classifiers" (2025); zeros where all are equal.

    Returns:
        (N, H, W).

    Example:
        >>> attributions = torch.tensor([[[[1.0, 0.0]], [[-3.0, 0.5]]]])
        >>> [reduced(attributions, name).flatten().tolist() for name in ("sum", "abs_max", "max")]
        [[-2.0, 0.5], [3.0, 0.5], [1.0, 0.875]]
    """
    if reduction == "sum":
        return attributions.sum(1)
    if reduction == "abs_max":
        return attributions.abs().amax(1)
    low = attributions.amin((1, 2, 3), keepdim=True)
    span = attributions.amax((1, 2, 3), keepdim=True) - low
    return ((attributions - low) / torch.where(span > 0, span, 1.0)).amax(1)
