"""What every transform is: settings in the constructor, images in the call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from lightning_xai._registry import alias_of
from lightning_xai._settings import Configured, setting_names
from lightning_xai.comparison.transforms.surroundings import Surroundings
from lightning_xai.model.classifier import Classifier, Model
from lightning_xai.model.preserve import preserved
from lightning_xai.probing.sample import Sample, sample_of_checked


class Transform(Configured, ABC):
    """A change of images, with its strength, under which a `Comparison` compares explainers.

    A subclass overrides `change`. It returns as many images in the same order, with what is known about them: masks,
    boxes and regions of an image that is moved are moved with it. Random numbers belong to the image, by
    ``surroundings.keys``, so that an image is changed alike in any batch. Settings are the constructor's arguments,
    kept as attributes under the same names.

    Attributes:
        alias: Name in `get_transform`; the file's name, or the snake_case of a class defined elsewhere.
        needs_model: Whether `change` asks the model: then the images are changed for each model by itself.
        numbers_version: Raised when the images of the same settings change, so that stored results are made anew.
    """

    numbers_version: ClassVar[int] = 1
    needs_model: ClassVar[bool] = False
    alias: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.alias = alias_of(cls)

    @property
    def name(self) -> str:
        """Name in tables where none is given: the alias and the numbers of the first setting, ``"rotation_15"``."""
        first = next((getattr(self, name) for name in setting_names(type(self))), None)
        numbers = first if isinstance(first, tuple) else (first,)
        are_numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers)
        return f"{self.alias}_{'x'.join(f'{one:g}' for one in numbers)}" if are_numbers else self.alias

    @property
    def evaluations(self) -> int:
        """Of the model per image."""
        return 0

    @abstractmethod
    def change(self, sample: Sample, surroundings: Surroundings) -> Sample:
        """Return the changed images with what is known about them.

        Args:
            sample: A batch of images of one size.
            surroundings: What may be asked about beside them.
        """

    def __call__(self, sample: Sample, model: Model | None = None, *, seed: int = 0) -> Sample:
        """Return the changed images of a batch that is all there is: range and partners are those of the batch.

        Args:
            sample: The images.
            model: Left as it was; for transforms that need one.
            seed: Of random numbers.
        """
        if model is None:
            return self.change(sample, Surroundings.of_batch(sample, seed=seed))
        classifier = Classifier.of(model, sample.images)
        with preserved(classifier.model):
            return self.change(sample, Surroundings.of_batch(sample, classifier, seed))


def with_images(sample: Sample, images: Tensor) -> Sample:
    """Return a sample with other images of the same size, where everything is where it was."""
    return sample_of_checked(**{**vars(sample), "images": images.to(sample.images.dtype)})
