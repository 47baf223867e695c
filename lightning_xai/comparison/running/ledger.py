"""What is finished of a comparison, and under which keys it is kept."""

from __future__ import annotations

from lightning_xai.comparison.cell import Cell, Failure
from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.running.loaded import LoadedModels
from lightning_xai.comparison.running.task import Task
from lightning_xai.comparison.storage.fingerprint import fingerprint, of_explainer, of_metric, of_model
from lightning_xai.comparison.storage.storage import Storage

_UNTOLD = 10**6  # evaluations per image of an explainer that cannot tell: among the first, as if it were slow


class Ledger:
    """Says of each cell what is there, what failed and what is missing.

    Args:
        task: What is asked.
        storage: Where results are kept.

    Attributes:
        task: As given.
        storage: As given.
        broken_models: Name -> why it cannot be loaded.
    """

    def __init__(self, task: Task, storage: Storage) -> None:
        self.task = task
        self.storage = storage
        self.broken_models: dict[str, str] = {}
        self._models: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    def identify(self, loaded: LoadedModels) -> None:
        """Learn what every model is; one that cannot be loaded is broken, which all its cells will say."""
        for name in self.task.models:
            try:
                module = loaded.module(name)
                self._models[name] = of_model(module, self.task.readout)
                self._sizes[name] = sum(weights.numel() for weights in module.parameters())
            except Exception as error:
                self.broken_models[name] = said(error)

    def unfinished(self) -> list[Cell]:
        """Return the cells that lack values, the largest first, whatever their model; equal ones model by model."""
        cells = [cell for cell in self.task.cells() if self.missing(cell)]
        return sorted(cells, key=self.size, reverse=True)

    def size(self, cell: Cell) -> int:
        """Return how long a cell takes beside others: about, and the same in every process.

        It is evaluations × values of an image × weights of the model, with which the operations of a forward grow.
        """
        images = self.task.images_of(cell.setting)
        evaluations = self.task.evaluations(cell)
        of_one = _UNTOLD if evaluations is None else evaluations // len(images)
        return of_one * images.num_values * max(1, self._sizes.get(cell.setting.model, 1))

    def heatmaps_key(self, cell: Cell) -> str:
        """Return the fingerprint of a cell's heatmaps."""
        setting = cell.setting
        images = self.task.fingerprints_of_images[setting.data, setting.transform]
        explainer = of_explainer(self.task.explainers[cell.explainer])
        return fingerprint(self._models[setting.model], images, setting.target, explainer)

    def values_key(self, cell: Cell, metric: str) -> str:
        """Return the fingerprint of a metric's values in a cell."""
        return fingerprint(self.heatmaps_key(cell), of_metric(self.task.metrics[metric]), self.task.seed)

    def missing(self, cell: Cell) -> dict[str, str]:
        """Return the metrics that have neither values nor a reason in a cell, and the keys of their values.

        None is if the model is broken, which is the reason.
        """
        return {name: key for name, key in self.without_values(cell).items() if self.storage.failure(key) is None}

    def without_values(self, cell: Cell) -> dict[str, str]:
        """Return the metrics that have no values in a cell, failed ones too, and the keys of their values."""
        if cell.setting.model in self.broken_models:
            return {}
        keys = {name: self.values_key(cell, name) for name in self.task.metrics_of(cell.setting)}
        return {name: key for name, key in keys.items() if not self.storage.has_values(key)}

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


def said(error: Exception) -> str:
    """Return an error in words."""
    return f"{type(error).__name__}: {error}"
