"""What a transform may ask about beside the images of one batch: the whole data, and the model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from lightning_xai._randomness import uniform
from lightning_xai.evidence.case import Case
from lightning_xai.model.classifier import Classifier
from lightning_xai.probing.probe import Probe, item_of, references_of_size
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import identities_of
from lightning_xai.probing.target import case_of


class WholeData:
    """All images of the data, of which a batch is a part.

    Args:
        probe: They, before any transform.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self._ranges: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def span(self) -> float:
        """Greatest minus least value of all images; 0 if there are no two values."""
        low, high = self.probe.value_range or (0.0, 0.0)
        return high - low

    def range_of_channels(self, count: int) -> tuple[Tensor, Tensor]:
        """Return each channel's least and greatest value among the images of ``count`` channels, (C, 1, 1) each."""
        if count not in self._ranges:
            images = [item.image for item in self.probe.items if len(item.image) == count]
            low, high = (
                torch.stack([getattr(image, end)((1, 2), keepdim=True) for image in images]) for end in ("amin", "amax")
            )
            self._ranges[count] = low.amin(0), high.amax(0)
        return self._ranges[count]

    def around(self, places: Sequence[int], seed: int, classifier: Classifier | None = None) -> Surroundings:
        """Return what may be asked about beside the images at some places."""
        keys, labels = (
            torch.tensor([of_all[place] for place in places], dtype=torch.int64)
            for of_all in (self.probe.keys, self.probe.labels)
        )
        return Surroundings(keys, labels, self, seed, classifier)

    def partner(self, key: int, seed: int) -> Tensor:
        """Return another image of the data, (C, H, W), drawn by the key of an image: the same in any batch and order.

        Raises:
            ValueError: If there is no other.
        """
        keys = self._places
        if len(keys) < 2:
            raise ValueError("Expected `data` of at least two different images, to mix each with another, but got one.")
        number = torch.tensor([key], dtype=torch.int64)
        drawn = int(uniform(number, (1,), seed=seed, purpose="partner") * (len(keys) - 1))
        own = bisect_left(keys, (key,))
        return self.probe.items[keys[drawn + (drawn >= own)][1]].image

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Key and first place of each different image, by key."""
        first: dict[int, int] = {}
        for place, key in enumerate(self.probe.keys):
            first.setdefault(key, place)
        return sorted(first.items())


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a transform of a batch may ask about beside its images.

    Attributes:
        keys: Content key of each image before any transform, int64 (N,), on the CPU: random numbers belong to it.
        labels: Class that each image stands for, int64 (N,), on the CPU, -1 where none.
        data: All images, of which these are some.
        seed: Of random numbers.
        classifier: The model, of transforms that need one.
    """

    keys: Tensor
    labels: Tensor
    data: WholeData
    seed: int = 0
    classifier: Classifier | None = None

    @staticmethod
    def of_batch(sample: Sample, classifier: Classifier | None = None, seed: int = 0) -> Surroundings:
        """Return those of a batch that is all there is."""
        items = [item_of(sample, row) for row in range(len(sample.images))]
        return WholeData(Probe(identities_of(sample), items)).around(range(len(items)), seed, classifier)

    def unit(self, *, absolute: bool) -> float:
        """Return what strengths are shares of: the range of the data's values, or 1 in the units of the images."""
        return 1.0 if absolute else self.data.span

    def clamped(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) with each channel between its least and greatest value in the data."""
        low, high = (end.to(images) for end in self.data.range_of_channels(images.shape[1]))
        return images.clamp(low, high)

    def partners(self, images: Tensor) -> Tensor:
        """Return another image of the data for each of ``images`` (N, C, H, W); one of another size is resized."""
        size = (images.shape[2], images.shape[3])
        found = [self.data.partner(key, self.seed) for key in self.keys.tolist()]
        if any(len(one) != images.shape[1] for one in found):
            raise ValueError(
                f"Expected images of one number of channels, to mix them, but got {images.shape[1]} and others."
            )
        return references_of_size(found, size).to(images)

    def case(self, sample: Sample, against: Literal["label", "predicted"]) -> Case:
        """Return model and images with the class that is attacked; it costs one evaluation per image.

        Raises:
            ValueError: If there are no labels to attack, or no model.
        """
        if self.classifier is None:
            raise ValueError("Expected a model, because the transform attacks it, but got none. Pass `model`.")
        if against == "label" and sample.labels is None:
            raise ValueError("Expected data with labels to attack, but they have none. Set `against='predicted'`.")
        labels = self.labels.to(sample.images.device)
        span = self.data.probe.value_range
        return case_of(self.classifier, sample, labels, against, value_range=span, seed=self.seed)
