"""Work on the cells of a comparison: what is finished is left alone, what another process does is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lightning_xai.comparison.bench import Bench
from lightning_xai.comparison.cell import Cell, Failure, Setting
from lightning_xai.comparison.fingerprint import fingerprint, of_explainer, of_metric, of_model
from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.storage import Storage
from lightning_xai.comparison.task import ModelAtWork, Task

_POLL = 0.5  # seconds between two looks at what others have finished


@dataclass
class Worker:
    """Does what is left of a task, model by model.

    Args:
        task: What is asked.
        storage: Where results are kept.
        told: Called with each cell when its values are there, whoever computed them.
    """

    task: Task
    storage: Storage
    told: Callable[[Cell], object] = lambda _: None
    broken_models: dict[str, str] = field(default_factory=dict)
    _models: dict[str, str] = field(default_factory=dict)
    _finished: set[Cell] = field(default_factory=set)

    def work(self) -> None:
        """Return when every cell has its values, or the reasons why not."""
        left = list(self.task.models)
        while left:
            before = len(self._finished)
            left = [name for name in left if not self._finished_with(name)]
            if left and len(self._finished) == before:
                time.sleep(_POLL)

    def heatmaps_key(self, cell: Cell) -> str:
        """Return the fingerprint of a cell's heatmaps."""
        setting = cell.setting
        images = self.task.fingerprints_of_images[setting.data, setting.transform]
        explainer = of_explainer(self.task.explainers[cell.explainer])
        return fingerprint(self._models[setting.model], images, setting.target, explainer)

    def left(self, model: ModelAtWork, cells: Sequence[Cell]) -> list[Cell]:
        """Return those of a model's cells that lack values; none if the model cannot be loaded."""
        return [cell for cell in cells if self._missing(cell)] if self._identified(model) else []

    def values_key(self, cell: Cell, metric: str) -> str:
        """Return the fingerprint of a metric's values in a cell."""
        return fingerprint(self.heatmaps_key(cell), of_metric(self.task.metrics[metric]), self.task.seed)

    def values(self, cell: Cell, metric: str) -> CellValues | Failure | None:
        """Return what was found, or why nothing was."""
        missing = self.task.lacks(cell.setting, self.task.metrics[metric])
        if missing:
            needed = " and ".join(missing)
            return Failure(cell, metric, f"the data {cell.setting.data!r} have no {needed}", is_error=False)
        if cell.setting.model in self.broken_models:
            return Failure(cell, metric, self.broken_models[cell.setting.model])
        key = self.values_key(cell, metric)
        found = self.storage.values(key)
        if found is None:
            return Failure(cell, metric, self.storage.failure(key) or "not computed yet")
        return found

    def about_heatmaps(self, cell: Cell) -> CellHeatmaps | None:
        """Return what is known of a cell's heatmaps, without them; None if they could not be made."""
        is_broken = cell.setting.model in self.broken_models
        return None if is_broken else self.storage.about_heatmaps(self.heatmaps_key(cell))

    def heatmaps(self, cell: Cell) -> CellHeatmaps | None:
        """Return a cell's heatmaps; None if they could not be made."""
        is_broken = cell.setting.model in self.broken_models
        return None if is_broken else self.storage.heatmaps(self.heatmaps_key(cell))

    def _finished_with(self, name: str) -> bool:
        """Do what can be done with one model; return whether nothing is left of it."""
        settings = [setting for setting in self.task.settings if setting.model == name]
        with ModelAtWork(self.task, name) as model:
            if self._identified(model):
                for setting in settings:
                    self._work_on(setting, model)
        cells = [cell for setting in settings for cell in self.task.cells(setting)]
        if name in self.broken_models:
            for cell in cells:
                self._finish(cell)
        return all(cell in self._finished for cell in cells)

    def _identified(self, model: ModelAtWork) -> bool:
        """Return whether the fingerprint of a model is known; not if it cannot be loaded, which all its cells say."""
        if model.name not in self._models:
            try:
                self._models[model.name] = of_model(model.module, self.task.readout)
            except Exception as error:
                self.broken_models[model.name] = said(error)
        return model.name in self._models

    def _work_on(self, setting: Setting, model: ModelAtWork) -> None:
        """Compute the cells of a setting that nobody else is computing."""
        bench: Bench | None = None
        for cell in self.task.cells(setting):
            if cell in self._finished:
                continue
            if self._missing(cell):
                with self.storage.claimed(self.heatmaps_key(cell)) as is_ours:
                    if not is_ours:
                        continue
                    missing = self._missing(cell)  # another process may just have finished
                    if missing:
                        bench = bench or model.bench(setting)
                        self._compute(bench, cell, missing)
            self._finish(cell)

    def _missing(self, cell: Cell) -> list[str]:
        """Return the metrics that have neither values nor a reason in a cell."""
        keys = {name: self.values_key(cell, name) for name in self.task.metrics_of(cell.setting)}
        return [
            name for name, key in keys.items() if not self.storage.has_values(key) and self.storage.failure(key) is None
        ]

    def _compute(self, bench: Bench, cell: Cell, missing: Sequence[str]) -> None:
        """Explain the images unless their heatmaps are kept, score what is missing, keep everything."""
        explainer = self.task.explainers[cell.explainer]
        key = self.heatmaps_key(cell)
        heatmaps = self.storage.heatmaps(key)
        if heatmaps is None:
            try:
                heatmaps = bench.heatmaps(explainer)
            except Exception as error:
                for metric in missing:
                    self.storage.keep_failure(self.values_key(cell, metric), said(error))
                return
            self.storage.keep_heatmaps(key, heatmaps)
        metrics = {name: self.task.metrics[name] for name in missing}
        scores = bench.scores(explainer, metrics, heatmaps.heatmaps)
        for name, values in scores.values.items():
            settings = f"{explainer!r} {metrics[name]!r} seed={self.task.seed} {self.task.readout!r}"
            self.storage.keep_values(self.values_key(cell, name), replace(values, settings=settings), cell.names(name))
        for name, reason in scores.errors.items():
            self.storage.keep_failure(self.values_key(cell, name), said(reason))

    def _finish(self, cell: Cell) -> None:
        if cell not in self._finished:
            self._finished.add(cell)
            self.told(cell)


def said(error: Exception) -> str:
    """Return an error in words."""
    return f"{type(error).__name__}: {error}"
