"""What a comparison will cost, before it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lightning_xai.comparison.running.bench import Bench
from lightning_xai.comparison.running.ledger import Ledger
from lightning_xai.comparison.running.loaded import LoadedModels

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


def forecast(ledger: Ledger) -> Forecast:
    """Return what is left of a task; each model is loaded, and timed on its first images."""
    task, evaluations, seconds = ledger.task, 0, 0.0
    with LoadedModels(task, ledger.storage) as loaded:
        ledger.identify(loaded)
        left = ledger.unfinished()
        for name in task.models:
            of_model = [cell for cell in left if cell.setting.model == name]
            cost = sum(task.evaluations(cell) or 0 for cell in of_model)
            cost += sum(task.shared_evaluations(setting) for setting in {cell.setting for cell in of_model})
            attacked = {(cell.setting.data, cell.setting.transform) for cell in of_model}
            cost += sum(task.attacking_evaluations(*place) for place in attacked)
            if of_model:
                seconds += cost * _seconds_per_image(loaded.bench(of_model[0].setting))
            evaluations += cost
    untold = tuple(name for name, explainer in task.explainers.items() if explainer.evaluations is None)
    cells = len(task.cells())
    return Forecast(cells, cells - len(left), evaluations, seconds, untold, dict(ledger.broken_models))


def _seconds_per_image(bench: Bench) -> float:
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
