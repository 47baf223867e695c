"""What a comparison will cost, before it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lightning_xai.comparison.cell import Cell
from lightning_xai.comparison.task import ModelAtWork
from lightning_xai.comparison.worker import Worker

_TIMED = 2  # forwards, after one that warms up


@dataclass(frozen=True)
class Forecast:
    """What is left of a comparison.

    Attributes:
        cells: All of them.
        finished: Those whose values are all there, or whose model cannot be loaded.
        evaluations: About how many evaluations of models the others cost, without the explainers that cannot tell.
        seconds: That as many forward passes take here; gradients take two to three times as long.
        untold: Explainers whose cost depends on the network or the images.
        broken_models: Name -> why it cannot be loaded.
    """

    cells: int
    finished: int
    evaluations: int
    seconds: float
    untold: tuple[str, ...]
    broken_models: dict[str, str]

    def __str__(self) -> str:
        """Return it in words."""
        words = f"{self.cells} cells, {self.finished} of them finished; about {self.evaluations:,} evaluations"
        words += f" left, {_duration(self.seconds)} of forward passes here (gradients take two to three times as long)"
        words += f", and what {', '.join(self.untold)} cost, which depends on the network" if self.untold else ""
        return "\n".join([f"{words}.", *(f"{name}: {why}" for name, why in self.broken_models.items())])


def forecast(worker: Worker) -> Forecast:
    """Return what is left of a worker's task; each model is loaded, and timed on its first images."""
    task, finished, evaluations, seconds = worker.task, 0, 0, 0.0
    cells = [cell for setting in task.settings for cell in task.cells(setting)]
    for name in task.models:
        of_model = [cell for cell in cells if cell.setting.model == name]
        with ModelAtWork(task, name, worker.storage) as model:
            left = worker.left(model, of_model)
            cost = sum(task.evaluations(cell) or 0 for cell in left)
            cost += sum(task.shared_evaluations(setting) for setting in {cell.setting for cell in left})
            attacked = {(cell.setting.data, cell.setting.transform) for cell in left}
            cost += sum(task.attacking_evaluations(*place) for place in attacked)
            if left:
                seconds += cost * _seconds_per_image(model, left[0])
        finished += len(of_model) - len(left)
        evaluations += cost
    untold = tuple(name for name, explainer in task.explainers.items() if explainer.evaluations is None)
    return Forecast(len(cells), finished, evaluations, seconds, untold, dict(worker.broken_models))


def _seconds_per_image(model: ModelAtWork, cell: Cell) -> float:
    bench = model.bench(cell.setting)
    count = bench.forward_first()
    began = time.perf_counter()
    for _ in range(_TIMED):
        bench.forward_first()
    return (time.perf_counter() - began) / (_TIMED * count)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
