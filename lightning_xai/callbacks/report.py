"""How an outcome becomes values, rows and pictures."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_xai.callbacks.engine import Outcome
from lightning_xai.callbacks.grid import Grid
from lightning_xai.callbacks.parts import Parts
from lightning_xai.callbacks.probe import Probe
from lightning_xai.callbacks.record import Record
from lightning_xai.callbacks.study import Findings
from lightning_xai.callbacks.summary import Value, control_values, metric_values, probe_values
from lightning_xai.loggers import log_picture, scalar_step

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

_PICTURE = "heatmaps"
_ERROR_SUFFIX = "_se"


@dataclass(frozen=True)
class Report:
    """Publish outcomes.

    Attributes:
        parts: What is monitored.
        grid: How the heatmap grid looks.
    """

    parts: Parts
    grid: Grid

    def stand_in(self, trainer: Trainer, module: LightningModule, record: Record, loader: int) -> None:
        """Log the last good value of each key, else its worst, for monitors only, in case no real value follows."""
        keys = self.parts.loader_keys(record.shown(loader), annotated=record.samples[loader].annotated)
        self.promise(
            trainer, module, {name: record.last_values.setdefault(name, key.worst) for name, key in keys.items()}
        )

    def promise(self, trainer: Trainer, module: LightningModule, values: dict[str, float]) -> None:
        """Log values for monitors only."""
        for name, value in values.items():
            module.log(
                name,
                value,
                on_step=False,
                on_epoch=True,
                logger=False,
                batch_size=1,
                add_dataloader_idx=False,
                sync_dist=trainer.world_size > 1,
            )

    def check(self, record: Record) -> None:
        """Raise ValueError if the loaders' images cannot be drawn."""
        for sample in record.samples.values():
            self.grid.check(sample)

    def publish(
        self, trainer: Trainer, module: LightningModule, record: Record, outcome: Outcome, seconds: float
    ) -> None:
        """Log values, keep what the next epoch needs, write the history and draw the grid."""
        values: dict[str, Value] = {}
        for loader, found in outcome.found.items():
            probe = record.probes[loader]
            known = record.shown(loader)
            spent = {"seconds": (seconds, math.nan), "model_evaluations": (float(outcome.evaluations), math.nan)}
            values.update(self._values(probe, found, outcome.task, spent, known))
            probe.previous = {name: maps.cpu() for name, maps in found.compact.items()}
            probe.previous_target = found.target.cpu()
        real = {name: value for name, (value, _) in values.items() if math.isfinite(value)}
        for name, value in real.items():
            module.log(name, value, batch_size=1, add_dataloader_idx=False, sync_dist=trainer.world_size > 1)
        _say_share(record, seconds)
        record.last_values.update(real)
        record.last_epoch = trainer.current_epoch
        errors = {name + _ERROR_SUFFIX: error for name, (_, error) in values.items()}
        record.history.put(trainer.current_epoch, scalar_step(trainer), {**real, **errors})
        self._write(trainer, record, outcome)

    def _values(
        self, probe: Probe, found: Findings, task: str, spent: dict[str, Value], loader: int | None
    ) -> dict[str, Value]:
        everything = list(range(len(probe)))
        suite = self.parts.suite(annotated=probe.annotated)
        shared = {
            **probe_values(found, probe.classes(everything, found.target.device), task),
            **control_values(found.control, suite),
            **spent,
        }
        values = {self.parts.name(key, loader=loader): value for key, value in shared.items()}
        for explainer, rows in found.rows.items():
            for key, value in metric_values(rows, found.control, suite).items():
                values[self.parts.name(key, explainer=explainer, loader=loader)] = value
        return values

    def _write(self, trainer: Trainer, record: Record, outcome: Outcome) -> None:
        """Write the history and the grids, on rank zero; a full disk or a silent server must not end the run."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        try:
            suffix = "" if record.stage == "fit" else f"_{record.stage}"
            record.history.write(record.directory / f"{self.parts.prefix}_history{suffix}.csv")
            for loader in outcome.found:
                self._draw(trainer, record, outcome, loader)
        except Exception as error:
            rank_zero_warn(f"ExplanationMonitor could not write epoch {trainer.current_epoch}: {error}")

    def _draw(self, trainer: Trainer, record: Record, outcome: Outcome, loader: int) -> None:
        probe, found = record.probes[loader], outcome.found[loader]
        indices = list(range(min(self.grid.num_images, len(probe))))
        if not indices:
            return
        cpu = torch.device("cpu")
        shown = replace(
            found,
            logits=found.logits[indices].cpu(),
            target=found.target[indices].cpu(),
            heatmaps={name: maps[indices].cpu() for name, maps in found.heatmaps.items()},
        )
        title = f"epoch {trainer.current_epoch} · step {scalar_step(trainer)}"
        sample, classes = probe.sample(indices, cpu), probe.classes(indices, cpu)
        picture = self.grid.draw(sample, shown, classes, outcome.task, title=title)
        name = self.parts.name(_PICTURE, loader=record.shown(loader))
        log_picture(trainer, name, picture, caption=title, directory=record.directory)


def _say_share(record: Record, seconds: float) -> None:
    """Say once which share of an epoch explaining takes."""
    if record.last_epoch is None and record.epoch_began is not None:
        epoch = time.perf_counter() - record.epoch_began
        rank_zero_info(
            f"ExplanationMonitor took {seconds:.1f} s, {seconds / max(epoch, 1e-9):.0%} of this epoch so far. To spend "
            "less: every_n_epochs, num_images, fewer metrics."
        )
