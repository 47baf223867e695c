"""The one pixel whose change hurts the prediction most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import differential_evolution
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai._randomness import random_bits, uniform
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.models.logits import log_odds

if TYPE_CHECKING:
    from lightning_xai.evidence.case import Case

_LEAST_POPULATION = 6  # differential evolution combines up to five others


@dataclass(frozen=True)
class OnePixel:
    """The best one-pixel change that was found for each image.

    Attributes:
        place: Flat index of the pixel, int64 (N,).
        value: What it becomes, (N, C).
        attacked: Class that the model predicted before (largest logit), int64 (N,).
        success: Whether it predicts another one afterwards, boolean (N,).
    """

    place: Tensor
    value: Tensor
    attacked: Tensor
    success: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """Return ``images`` (N, C, H, W) with their pixel changed."""
        return _replaced(images, self.place, self.value)


@dataclass(frozen=True)
class OnePixelAttack(Evidence[OnePixel]):
    """Differential evolution over position and value of one pixel, against the predicted class, untargeted.

    A candidate is (row, column, value per channel), bounded by the image and by each channel's least and greatest
    value; its energy is the log-odds of the predicted class. The search is scipy's ``best1bin`` without crossover, and
    never stops early, so that every image costs the same. It is seeded by the image's content; equal candidates have
    equal energies, so that rounding in batches of another size does not lead it elsewhere.

    Args:
        population: Candidates per generation.
        generations: Rounds after the first.
        seed: Of the search.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images"})

    population: int = 32
    generations: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.population, "population", least=_LEAST_POPULATION)
        check_count(self.generations, "generations")
        check_count(self.seed, "seed", least=-math.inf)

    def evaluations(self, explaining: int = 1) -> int:  # noqa: ARG002
        """Return one per candidate, and the unchanged image."""
        return self.population * (self.generations + 1) + 1

    def collect(self, case: Case) -> OnePixel:
        """Return the best change for each image."""
        attacked = case.logits.argmax(1)
        attacks = [self._search(case, index, attacked[index]) for index in range(len(case))]
        place, value, predicted = (torch.stack(column) for column in zip(*attacks, strict=True))
        return OnePixel(place, value, attacked, predicted != attacked)

    def _search(self, case: Case, index: int, attacked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return place, value and the class that the model predicts then."""
        key = case.keys[index, None]
        candidates = _Candidates(case, index, attacked)
        low, high = np.array(candidates.bounds).T
        draws = uniform(key, (self.population, len(low)), seed=self.seed, purpose="one pixel")[0]
        seed = int(random_bits(key, (1,), seed=self.seed, purpose="one pixel"))
        best = differential_evolution(
            candidates.energies,
            candidates.bounds,
            init=low + draws.double().cpu().numpy() * (high - low),
            maxiter=self.generations,
            recombination=1.0,
            tol=0.0,
            atol=-1.0,  # never converged
            polish=False,
            updating="deferred",
            vectorized=True,
            seed=np.random.default_rng(seed),
        )
        place, value = candidates.decode(best.x[None])
        return place[0], value[0], candidates.predicted(place[0], value[0])


class _Candidates:
    """Changes of one pixel of one image, as the search sees them: numbers in, energies out; known ones are kept."""

    def __init__(self, case: Case, index: int, attacked: Tensor) -> None:
        self._classifier = case.classifier.rows(slice(index, index + 1))
        self._image, self._attacked = case.images[index], attacked
        self._known: dict[tuple[float, ...], tuple[float, int]] = {}
        channels = self._image.flatten(1).double()
        values = torch.stack([channels.amin(1), channels.amax(1)], 1).tolist()
        self.bounds = [(0.0, float(length)) for length in self._image.shape[1:]] + [tuple(pair) for pair in values]

    def decode(self, vectors: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return flat index of the pixel, int64 (n,), and value, (n, C), of candidates (n, 2 + C)."""
        height, width = self._image.shape[1:]
        row, column = (
            np.clip(np.floor(vectors[:, axis]), 0, length - 1) for axis, length in enumerate((height, width))
        )
        place = torch.from_numpy(row * width + column).long()
        return place.to(self._image.device), torch.from_numpy(vectors[:, 2:]).to(self._image)

    def energies(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-odds of the attacked class for candidates (2 + C, n), float64 (n,)."""
        place, value = self.decode(vectors.T)
        logits = self._classifier.evaluate(
            len(place),
            lambda chunk: _replaced(self._image.expand(len(place[chunk]), -1, -1, -1), place[chunk], value[chunk]),
            owners=lambda chunk: torch.zeros_like(place[chunk]),
        )
        energies = log_odds(self._classifier, logits, self._attacked.expand(len(logits))).tolist()
        names = [_name(*candidate) for candidate in zip(place.tolist(), value.tolist(), strict=True)]
        for name, energy, predicted in zip(names, energies, logits.argmax(1).tolist(), strict=True):
            self._known.setdefault(name, (energy, predicted))
        return np.array([self._known[name][0] for name in names])

    def predicted(self, place: Tensor, value: Tensor) -> Tensor:
        """Return the class that was predicted for a known candidate, int64 ()."""
        return torch.tensor(self._known[_name(int(place), value.tolist())][1], device=place.device)


def _name(place: int, value: list[float]) -> tuple[float, ...]:
    return (place, *value)


def _replaced(images: Tensor, place: Tensor, value: Tensor) -> Tensor:
    """Return copies of ``images`` (n, C, H, W) whose pixel ``place`` (n,) has ``value`` (n, C)."""
    index = place[:, None, None].expand(-1, images.shape[1], 1)
    return images.flatten(2).scatter(2, index, value[:, :, None].to(images.dtype)).view(images.shape)


@dataclass(frozen=True)
class OnePixelHeatmaps(Evidence[Tensor]):
    """Heatmaps (N, H, W) of the attacked images for the same class, whether the attack succeeded or not.

    Args:
        attack: What changes the images.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"model", "images", "target", "explainer"})

    attack: OnePixelAttack = OnePixelAttack()

    def evaluations(self, explaining: int = 1) -> int:
        """Return the cost of a heatmap."""
        return explaining

    def collect(self, case: Case) -> Tensor:
        """Return float32 (N, H, W)."""
        attacked_images = case[self.attack].apply(case.images)
        return case.explainer(case.classifier, attacked_images, case.target)
