"""What LIME and KernelSHAP share: an image in segments, coalitions of these that are seen, and a linear model of f."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_xai._baseline import Baseline, baseline_images, checked_baseline
from lightning_xai._checks import check_choice, check_count
from lightning_xai._randomness import uniform
from lightning_xai._segments import grid_labels, superpixels
from lightning_xai.explainers.perturbation.perturbation_explainer import (
    PerturbationExplainer,
    both_sides_of,
    exact_side,
)
from lightning_xai.model.classifier import Classifier


class SurrogateExplainer(PerturbationExplainer):
    """Explain by the coefficients of a linear model of the probability, one per segment that is seen or hidden.

    A subclass overrides `coalitions`, which segments are seen, and `coefficients`, how the linear model is fitted.
    Coalitions are drawn from the seed alone: images with equally many segments share them.

    Args:
        segments: ``"grid"``, the same cells for every image, or ``"slic"``, each image's own superpixels: about
            min(300, HW // 64) of them. The latter need the extra ``superpixels``.
        grid: Cells per side, `default_grid` if None; only where segments are a grid.
        num_samples: Coalitions that are evaluated, at most.
        baseline: What hidden values become; see `baseline_images`.
        seed: Of the coalitions, and of a noise baseline.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range; when called, if the grid is finer than the images.

    Attributes:
        default_grid: Cells per side where none are given.
    """

    default_grid: ClassVar[int] = 14
    _LEAST_SAMPLES = 2

    def __init__(
        self,
        segments: Literal["grid", "slic"] = "grid",
        grid: int | None = None,
        num_samples: int = 1000,
        baseline: Baseline = 0.0,
        seed: int = 0,
    ) -> None:
        check_choice(segments, ("grid", "slic"), "segments")
        if grid is not None:
            check_count(grid, "grid")
            if segments != "grid":
                raise ValueError(f"Expected `grid` to be None, because superpixels have none, but got {grid}.")
        check_count(num_samples, "num_samples", least=self._LEAST_SAMPLES)
        check_count(seed, "seed", least=-math.inf)
        self.segments = segments
        self.grid = grid
        self.num_samples = num_samples
        self.baseline = checked_baseline(baseline)
        self.seed = seed

    @property
    def evaluations(self) -> int | None:
        """One per coalition; None where their number depends on the image."""
        return None if self.segments == "slic" else self.count((self.grid or self.default_grid) ** 2)

    def count(self, segments: int) -> int:  # noqa: ARG002
        """Return how many coalitions are evaluated of so many segments."""
        return self.num_samples

    @abstractmethod
    def coalitions(self, segments: int, device: torch.device) -> Tensor:
        """Return which segments are seen, boolean (count, segments), all of them in at least one row."""

    @abstractmethod
    def coefficients(self, coalitions: Tensor, scores: Tensor) -> Tensor:
        """Return the linear model's coefficients.

        Args:
            coalitions: float64 (S, segments) of 0 and 1.
            scores: Probabilities, float64 (n, S); less 1 for images that the model is rather sure of.

        Returns:
            float64 (n, segments).
        """

    def explain(self, classifier: Classifier, images: Tensor, target: Tensor) -> Tensor:
        """Return maps (n, H, W), constant on each segment."""
        if self.segments == "slic":
            parts = []
            for index in range(len(images)):
                one = slice(index, index + 1)
                labels, count = superpixels(images[index])
                parts.append(self._fitted(classifier.rows(one), images[one], target[one], labels, count))
            return torch.cat(parts)
        cells = self.grid or self.default_grid
        labels = grid_labels((images.shape[2], images.shape[3]), (cells, cells), images.device)
        return self._fitted(classifier, images, target, labels, cells * cells)

    def drawn(self, segments: int, samples: int, device: torch.device, purpose: str = "") -> Tensor:
        """Return U[0, 1), (samples, segments), each row of which belongs to its number and the seed."""
        index = torch.arange(samples, device=device)
        return uniform(torch.zeros_like(index), (segments,), seed=self.seed, sample=index, purpose=purpose)

    def _fitted(self, classifier: Classifier, images: Tensor, target: Tensor, labels: Tensor, count: int) -> Tensor:
        """Return maps of images that share their segments ``labels`` (H, W)."""
        seen = self.coalitions(count, images.device)
        replaced = baseline_images(images, self.baseline, seed=self.seed).expand_as(images)

        def build(image: Tensor, version: Tensor) -> Tensor:
            hidden = ~seen[version][:, labels]
            return torch.where(hidden[:, None], replaced[image], images[image])

        both_sides = self.version_scores(classifier, images, len(seen), build, both_sides_of(classifier, target))
        intact = int(seen.all(1).int().argmax())
        scores = exact_side(both_sides, both_sides[:, intact])
        return self.coefficients(seen.double(), scores.double())[:, labels]
