"""What the explanation predicts for random perturbations, and what the model does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from lightning_xai._baseline import AnyBaseline, baseline_images, checked_baseline
from lightning_xai._checks import check_at_least, check_choice, check_count
from lightning_xai._randomness import normal, uniform
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.removal.changed_images import scores_of_changed_images

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case


Perturbation: TypeAlias = Literal["square", "gaussian"]


@dataclass(frozen=True)
class Response:
    """Predicted and real change of the target's logit for each perturbation I, float32 (N, num_samples).

    Attributes:
        predicted: Σ I·m over channels and pixels, with the raw heatmap.
        real: y(x) − y(x − I).
    """

    predicted: Tensor
    real: Tensor


@dataclass(frozen=True)
class PerturbationResponse(Evidence[Response]):
    """Responses to ``num_samples`` perturbations that belong to the image.

    Args:
        perturbation: ``"square"``, a square at a random place goes to ``baseline``; or ``"gaussian"`` noise of standard
            deviation ``sigma``.
        num_samples: Perturbations per image.
        side: Of the square, in pixels; H // 4 if None, W at most.
        baseline: What the square becomes; see `baseline_images`.
        sigma: Standard deviation of gaussian noise, as a share of the range of the values: of the case's `value_range`,
            else of each image's own.
        seed: Of places and noise.
        absolute: Whether ``sigma`` is in the units of the images instead.

    Raises:
        ValueError: If a setting is out of range; when collected, if a square of ``side`` is larger than the images.
    """

    perturbation: Perturbation = "square"
    num_samples: int = 64
    side: int | None = None
    baseline: AnyBaseline = 0.0
    sigma: float = 0.2
    seed: int = 0
    absolute: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_choice(self.perturbation, ("square", "gaussian"), "perturbation")
        check_count(self.num_samples, "num_samples")
        if self.side is not None:
            check_count(self.side, "side")
        object.__setattr__(self, "baseline", checked_baseline(self.baseline))
        check_at_least(self.sigma, 0.0, "sigma", strict=True)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return one per perturbation, and the unchanged image."""
        return self.num_samples + 1

    def collect(self, case: Case) -> Response:
        """Return the responses."""
        unit = case.noise_unit(absolute=self.absolute or self.perturbation != "gaussian").to(case.images.dtype)
        predicted = torch.empty(len(case), self.num_samples, device=case.images.device)

        def build(image_index: Tensor, version_index: Tensor) -> Tensor:
            images = case.images[image_index]
            perturbation = self.draw(images, case.keys[image_index], version_index) * unit[image_index]
            predicted[image_index, version_index] = (
                (perturbation.float().sum(1) * case.heatmaps[image_index]).flatten(1).sum(1)
            )
            return images - perturbation

        scores = scores_of_changed_images(case, self.num_samples, build, "logit")
        intact = case.classifier.select(case.logits, case.target)
        return Response(predicted, intact[:, None] - scores)

    def draw(self, images: Tensor, keys: Tensor, sample: Tensor) -> Tensor:
        """Return the perturbation I of each image, (n, C, H, W), to be subtracted; noise for a range of 1."""
        if self.perturbation == "gaussian":
            noise = normal(keys, tuple(images.shape[1:]), seed=self.seed, sample=sample)
            return (self.sigma * noise).to(images.dtype)
        height, width = images.shape[2:]
        side = min(max(height // 4, 1), width) if self.side is None else self.side
        if side > min(height, width):
            raise ValueError(f"Expected `side` to be at most the images' size {(height, width)}, but got {side}.")
        place = uniform(keys, (2,), seed=self.seed, sample=sample, purpose="perturbation")
        corner = (place * torch.tensor([height - side + 1, width - side + 1], device=place.device)).long()
        inside = _within(height, corner[:, 0], side)[:, :, None] & _within(width, corner[:, 1], side)[:, None, :]
        replaced = baseline_images(images, self.baseline, keys, seed=self.seed)
        return torch.where(inside[:, None], images - replaced, 0.0)


def _within(length: int, start: Tensor, side: int) -> Tensor:
    position = torch.arange(length, device=start.device)
    return (position >= start[:, None]) & (position < start[:, None] + side)
