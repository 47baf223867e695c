"""What happens to prediction and heatmap when the image is attacked by a small step against the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_at_least
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.models.logits import log_odds
from lightning_xai.model.backward.input_gradient import input_gradient
from lightning_xai.model.classifier import Classifier

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


@dataclass(frozen=True)
class Attacked:
    """What came of the attack.

    Attributes:
        heatmaps: Of the attacked images for the same class, float32 (N, H, W); NaN where the step has no length, as in
            a constant image whose own range that is a share of.
        correct_before: Whether the target had the largest logit and there was a step, boolean (N,).
        correct_after: Whether it still has, boolean (N,).
    """

    heatmaps: Tensor
    correct_before: Tensor
    correct_after: Tensor


@dataclass(frozen=True)
class AdversarialNeighbour(Evidence[Attacked]):
    """The fast gradient sign method: ``x + epsilon · sign(∂ loss / ∂x)``, where the loss is the target's cross-entropy.

    The sign is taken from the gradient of the target's negative log-odds, which points the same way and does not vanish
    where the model is sure. Values are not clamped.

    Args:
        epsilon: Length of the step in every value, as a share of the range of the values: of the case's `value_range`,
            else of each image's own.
        absolute: Whether ``epsilon`` is in the units of the images instead.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not positive.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target", "explainer"})

    epsilon: float = 2 / 255
    absolute: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_at_least(self.epsilon, 0.0, "epsilon", strict=True)

    def evaluations(self, explaining: int = 1) -> int:
        """Return one with its gradient, one of the attacked image, and its heatmap."""
        return 2 + explaining

    def collect(self, case: Case) -> Attacked:
        """Return heatmaps and correctness, chunk by chunk."""
        parts = [self._attacked(case, chunk) for chunk in case.classifier.chunks(len(case))]
        heatmaps, before, after = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return Attacked(heatmaps, before, after)

    def _attacked(self, case: Case, chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
        images, classifier = case.images[chunk], case.classifier.rows(chunk)
        target = case.target[chunk].clone()  # of a caller in inference mode, autograd could not save it
        step = self.epsilon * case.noise_unit(absolute=self.absolute)[chunk]
        attacked, before = attacked_images(classifier, images, target, step)
        after = classifier.logits(attacked)
        heatmaps = case.explainer(classifier, attacked, target)
        moved = step.flatten() > 0
        heatmaps = torch.where(moved[:, None, None], heatmaps, torch.nan)
        return heatmaps, (before.argmax(1) == target) & moved, after.argmax(1) == target


def attacked_images(classifier: Classifier, images: Tensor, target: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return images after a step against a class, and the logits before it.

    Args:
        classifier: The model.
        images: (n, C, H, W), at most a chunk.
        target: The class, int64 (n,).
        step: Length of the step in every value, in the units of the images, (n, 1, 1, 1).

    Raises:
        RuntimeError: If no gradient reaches the images.
    """
    gradient, before = input_gradient(classifier, images, lambda logits: -log_odds(classifier, logits, target))
    return images + (step * gradient.sign()).to(images.dtype), before
