"""Images that are changed against a model, when they are first needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.storage.fingerprint import fingerprint, of_images, of_model, of_transform
from lightning_xai.comparison.storage.storage import Storage
from lightning_xai.comparison.transforms.surroundings import WholeData
from lightning_xai.comparison.transforms.transform import Transform, with_images
from lightning_xai.model.classifier import Classifier
from lightning_xai.probing.sample import Sample

_POLL = 0.5  # seconds between two looks at what another process attacks


class Attack:
    """A transform that needs the model, of some data and one model: each batch is changed once, by one process.

    Args:
        images: The data, unchanged.
        transform: What changes them.
        seed: Of random numbers.
        storage: Keeps the changed images for other processes and later runs.
    """

    def __init__(self, images: ComparedImages, transform: Transform, seed: int, storage: Storage) -> None:
        self._images = images
        self._data = WholeData(images.probe)
        self._transform = transform
        self._seed = seed
        self._storage = storage
        self._number_of = {place: number for number, chunk in enumerate(images.chunks) for place in chunk}
        self._changed: dict[int, Tensor] = {}
        self._key = ""

    def change(self, places: Sequence[int], sample: Sample, classifier: Classifier) -> Sample:
        """Return the images at some places, which are of one size, changed.

        Args:
            places: Of the images in the data.
            sample: They, unchanged.
            classifier: The model, always the same.
        """
        device = sample.images.device
        self._finish(sorted({self._number_of[place] for place in places}), classifier, device)
        return with_images(sample, torch.stack([self._changed[place] for place in places]).to(device))

    def changed(self, classifier: Classifier, device: torch.device) -> ComparedImages:
        """Return all images changed; see `change`."""
        self._finish(range(len(self._images.chunks)), classifier, device)
        probe = self._images.probe
        items = [replace(item, image=self._changed[place]) for place, item in enumerate(probe.items)]
        return ComparedImages(replace(probe, items=items, kept_range=probe.value_range))

    def _finish(self, numbers: Sequence[int], classifier: Classifier, device: torch.device) -> None:
        """Change some batches, by number.

        Those that another process is changing are waited for; meanwhile others that nobody has changed yet are.
        """
        left = [number for number in numbers if not self._is_known(number)]
        while left := [number for number in left if not self._is_done(number, classifier, device)]:
            others = (n for n in range(len(self._images.chunks)) if n not in left and not self._is_known(n))
            if not any(self._is_done(number, classifier, device) for number in others):
                time.sleep(_POLL)

    def _is_known(self, number: int) -> bool:
        return self._images.chunks[number][0] in self._changed

    def _is_done(self, number: int, classifier: Classifier, device: torch.device) -> bool:
        """Return whether a batch is changed now: it was kept, or is nobody else's work."""
        places = self._images.chunks[number]
        key = fingerprint(self._key_with(classifier), places)
        found = self._storage.images(key)
        if found is None:
            with self._storage.claimed(key) as is_ours:
                if not is_ours:
                    return False
                found = self._storage.images(key)  # another process may just have finished
                if found is None:
                    surroundings = self._data.around(places, self._seed, classifier)
                    sample = self._images.sample(places, device)
                    found = self._transform.change(sample, surroundings).images.cpu()
                    self._storage.keep_images(key, found)
        self._changed |= dict(zip(places, found, strict=True))
        return True

    def _key_with(self, classifier: Classifier) -> str:
        if not self._key:
            model, images = of_model(classifier.model, classifier.readout), of_images(self._images)
            self._key = fingerprint(model, images, of_transform(self._transform), self._seed)
        return self._key
