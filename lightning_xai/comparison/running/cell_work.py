"""The work on one cell: its images are explained and scored, all of them or some batches, and parts become a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from lightning_xai._settings import in_words
from lightning_xai.comparison.cell import Cell, Part
from lightning_xai.comparison.results import CellHeatmaps, CellValues, joined_heatmaps, joined_values
from lightning_xai.comparison.running.ledger import Ledger, said
from lightning_xai.comparison.running.loaded import LoadedModels
from lightning_xai.comparison.storage.storage import Storage


class CellWork:
    """Computes what is missing in one cell and keeps it.

    A cell of one part is kept where it belongs at once. Parts of a larger one lie beside, under keys of their own,
    until `join` writes them as one.

    Args:
        ledger: Says what is missing.
        loaded: The models.
        cell: Which.

    Attributes:
        cell: As given.
        key: Of the cell's heatmaps.
        parts: Of the cell.
    """

    def __init__(self, ledger: Ledger, loaded: LoadedModels, cell: Cell) -> None:
        self.cell = cell
        self.key = ledger.heatmaps_key(cell)
        self.parts = ledger.task.parts(cell)
        self._ledger = ledger
        self._loaded = loaded
        self._images = ledger.task.images_of(cell.setting)
        self._explainer = ledger.task.explainers[cell.explainer]

    @property
    def is_split(self) -> bool:
        """Whether the cell has several parts."""
        return len(self.parts) > 1

    def unfinished_parts(self) -> list[Part]:
        """Return the parts that lack values of a metric that is missing in the cell."""
        there = self._beside.keys_of_values()
        missing = self._ledger.missing(self.cell).values()
        return [part for part in self.parts if not there.issuperset(_of_part(key, part) for key in missing)]

    def compute(self, part: Part) -> bool:
        """Explain the images of a part, unless that is kept, and score what is missing; return whether anything was.

        What fails leaves its reason.
        """
        missing = self._missing(part)
        if not missing:
            return False
        try:
            heatmaps = self._kept_heatmaps(part)
            if heatmaps is None:
                heatmaps = self._loaded.bench(self.cell.setting).heatmaps(self._explainer, part.chunks)
        except Exception as error:
            self._keep_failures(dict.fromkeys(missing, error))
            return True
        self._keep_heatmaps(part, heatmaps)
        self._score(part, heatmaps, missing)
        return True

    def join(self) -> None:
        """Write what is there of all parts as one, and forget the parts when nothing more is wanted of them."""
        storage, of_parts = self._storage, [self._beside.heatmaps(str(part)) for part in self.parts]
        if storage.about_heatmaps(self.key) is None and None not in of_parts:
            storage.keep_heatmaps(self.key, joined_heatmaps([one for one in of_parts if one is not None], self._images))
        for metric, key in self._ledger.missing(self.cell).items():
            found = [self._beside.values(_of_part(key, part)) for part in self.parts]
            if None not in found:
                values = joined_values([one for one in found if one is not None], self._images)
                storage.keep_values(key, values, self.cell.names(metric))
        self.forget_parts()

    def forget_parts(self) -> None:
        """Remove the parts if every metric has its values; what failed may be tried again with the others kept."""
        if not self._ledger.without_values(self.cell):
            self._storage.discard_parts(self.key)

    @property
    def _storage(self) -> Storage:
        return self._ledger.storage

    @cached_property
    def _beside(self) -> Storage:
        return self._storage.parts(self.key)

    def _missing(self, part: Part) -> dict[str, str]:
        """Return the metrics that are missing in a part, and the keys of their values in the cell.

        The part is asked before the cell: what was joined meanwhile is missing in neither.
        """
        there = self._beside.keys_of_values() if self.is_split else frozenset()
        missing = self._ledger.missing(self.cell)
        return {name: key for name, key in missing.items() if _of_part(key, part) not in there}

    def _kept_heatmaps(self, part: Part) -> CellHeatmaps | None:
        """Return the heatmaps of a part, from those of the part or of the cell."""
        if self.is_split:
            found = self._beside.heatmaps(str(part))
            if found is not None:
                return found
        whole = self._storage.heatmaps(self.key)
        return None if whole is None else replace(whole, heatmaps=[whole.heatmaps[number] for number in part.chunks])

    def _keep_heatmaps(self, part: Part, heatmaps: CellHeatmaps) -> None:
        if self._storage.about_heatmaps(self.key) is not None:
            return
        if not self.is_split:
            self._storage.keep_heatmaps(self.key, joined_heatmaps([heatmaps], self._images))
        elif self._beside.about_heatmaps(str(part)) is None:
            self._beside.keep_heatmaps(str(part), heatmaps)

    def _score(self, part: Part, heatmaps: CellHeatmaps, missing: Mapping[str, str]) -> None:
        metrics = {name: self._ledger.task.metrics[name] for name in missing}
        maps = dict(zip(part.chunks, heatmaps.heatmaps, strict=True))
        try:
            scores = self._loaded.bench(self.cell.setting).scores(self._explainer, metrics, maps)
        except Exception as error:
            self._keep_failures(dict.fromkeys(missing, error))
            return
        for metric, values in scores.values.items():
            self._keep_values(part, metric, missing[metric], values)
        self._keep_failures(scores.errors)

    def _keep_values(self, part: Part, metric: str, key: str, values: CellValues) -> None:
        task, names = self._ledger.task, self.cell.names(metric)
        of_images = f"transform={in_words(task.transforms[self.cell.setting.transform])}"
        settings = f"{self._explainer!r} {task.metrics[metric]!r} {of_images} seed={task.seed} {task.readout!r}"
        values = replace(values, settings=settings)
        if self.is_split:
            self._beside.keep_values(_of_part(key, part), values, names)
        else:
            self._storage.keep_values(key, joined_values([values], self._images), names)

    def _keep_failures(self, errors: Mapping[str, Exception]) -> None:
        for metric, error in errors.items():
            self._storage.keep_failure(self._ledger.values_key(self.cell, metric), said(error))


def _of_part(key: str, part: Part) -> str:
    return f"{key}.{part}"
