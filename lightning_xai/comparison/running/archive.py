"""What stands behind the numbers of a comparison: its images, the heatmaps that were kept, its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.running.bench import Bench
from lightning_xai.comparison.running.loaded import LoadedModels
from lightning_xai.comparison.running.task import Task
from lightning_xai.comparison.storage.storage import Storage
from lightning_xai.evidence.case import Case
from lightning_xai.probing.selection import turns


@dataclass(frozen=True, eq=False)
class Archive:
    """Finds images, heatmaps and models by their place in the table; nothing is explained again.

    Attributes:
        task: What was asked, with the images.
        storage: Where heatmaps are kept, and images that were changed against a model.
        keys: Cell -> under which key; cells without heatmaps are left out.
    """

    task: Task
    storage: Storage
    keys: Mapping[Cell, str]

    def images(self, setting: Setting) -> ComparedImages:
        """Return the images of a setting as they were explained; the model is loaded if its transform needs it.

        Their order is that of `Task.images_of`, which loads nothing.
        """
        if self.task.attack(setting.transform) is None:
            return self.task.images_of(setting)
        with LoadedModels(self.task, self.storage) as loaded:
            return loaded.bench(setting).changed_images()

    def heatmaps(self, cell: Cell) -> list[Tensor] | None:
        """Return the heatmaps of each batch of `ComparedImages.chunks`, float32 (n, H, W); None if there are none."""
        found = self.storage.heatmaps(self.keys[cell]) if cell in self.keys else None
        return None if found is None else found.heatmaps

    def heatmaps_by_image(self, cell: Cell, places: Sequence[int]) -> list[Tensor] | None:
        """Return the heatmaps (H, W) of the images at some places; None if there are none."""
        found = self.heatmaps(cell)
        if found is None:
            return None
        rows = {
            place: (number, row)
            for number, chunk in enumerate(self.task.images_of(cell.setting).chunks)
            for row, place in enumerate(chunk)
        }
        return [found[rows[place][0]][rows[place][1]] for place in places]

    def chosen(self, setting: Setting, num_images: int) -> list[int]:
        """Return the places of at most so many images of one size, that of most images; classes take turns."""
        images = self.task.images_of(setting)
        of_one_size = max(images.probe.places_by_size, key=len)
        identities = {images.probe.identities[place]: place for place in reversed(of_one_size)}
        return sorted(identities[identity] for identity in turns(identities, num_images))

    @contextmanager
    def cases(self, setting: Setting, explainers: Sequence[str], places: Sequence[int]) -> Iterator[dict[str, Case]]:
        """Yield the images at some places, of one size, with the kept heatmaps of explainers, on the model's device."""
        with LoadedModels(self.task, self.storage) as loaded:
            case = loaded.bench(setting).case(places)
            found = {name: self.heatmaps_by_image(Cell(setting, name), places) for name in explainers}
            yield {
                name: case.with_heatmaps(torch.stack(maps).to(case.images.device))
                for name, maps in found.items()
                if maps is not None
            }

    @contextmanager
    def shifted(self, setting: Setting, shift: Tensor) -> Iterator[Bench]:
        """Yield the bench of a setting for images plus a constant (C, 1, 1) and the model's twin: see `Bench.shifted`.

        Raises:
            ValueError: If the model has no such twin.
        """
        with LoadedModels(self.task, self.storage) as loaded:
            yield loaded.bench(setting).shifted(shift)
