"""Images of which one pixel is attacked."""

from __future__ import annotations

from typing import ClassVar

from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.evidence.neighbours.one_pixel_attack import OnePixelAttack
from lightning_xai.probing.sample import Sample


class OnePixel(Transform):
    """Change the one pixel whose change was found to hurt the model's prediction most, whether that changes or not.

    Place and value are searched by `OnePixelAttack` against the predicted class, for each model by itself; the value
    stays between each channel's least and greatest value of the image. Costs ``population · (generations + 1) + 1``
    evaluations per image: 673 with the defaults.

    Source: Su, Vargas and Sakurai, "One Pixel Attack for Fooling Deep Neural Networks", 2019,
    https://arxiv.org/abs/1710.08864, with 400 candidates and 100 generations.

    Args:
        population: Candidates per generation.
        generations: Rounds after the first.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If a setting is out of range.
    """

    needs_model: ClassVar[bool] = True

    def __init__(self, population: int = 32, generations: int = 20) -> None:
        OnePixelAttack(population, generations)  # checks them
        self.population = population
        self.generations = generations

    @property
    def name(self) -> str:
        """The alias: its settings are no strength."""
        return self.alias

    @property
    def evaluations(self) -> int:
        """One per candidate, and the unchanged image."""
        return OnePixelAttack(self.population, self.generations).evaluations()

    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """See `Transform`."""
        case = surroundings.case(sample, "predicted")
        attack = OnePixelAttack(self.population, self.generations, surroundings.seed)
        return with_images(sample, case[attack].apply(sample.images))
