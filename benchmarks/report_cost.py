"""What each report costs an explained epoch and the end of a fit, and how many bytes it leaves."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.result import Result
from benchmarks.setting import Setting, SmallCNN
from lightning_xai import ExplanationMonitor, ShapesDataset
from lightning_xai.probing.explained import ExplainedEpoch
from lightning_xai.reports import (
    AccuracyAlignment,
    Failures,
    Filmstrip,
    Grid,
    History,
    HtmlReport,
    ImageTable,
    Maps,
    Report,
    Run,
    Scalars,
)

_REPORTS: tuple[type[Report], ...] = (
    *(Scalars, History, Maps, Grid, Filmstrip, AccuracyAlignment, HtmlReport),
    *(Failures, ImageTable),
)


class Timed(Report):
    """A report, with the CPU time that each of its verbs took and the bytes that it left.

    Args:
        report: Whose verbs are passed on.
    """

    reads_logged = True
    wants_validation_logits = True

    def __init__(self, report: Report) -> None:
        self.report = report
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.bytes = 0

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        self._timed("epoch", partial(self.report.publish, epoch, run), run)

    def end_validation(self, epoch: ExplainedEpoch, run: Run) -> None:
        self._timed("epoch's end", partial(self.report.end_validation, epoch, run), run)

    def end_fit(self, run: Run) -> None:
        self._timed("fit", partial(self.report.end_fit, run), run)

    def wants_logged(self, name: str) -> bool:
        return self.report.wants_logged(name)

    def num_failures(self) -> int:
        return self.report.num_failures()

    def _timed(self, verb: str, call: Callable[[], None], run: Run) -> None:
        before = _bytes_left(run)
        began = time.process_time()
        call()
        self.seconds[verb].append(time.process_time() - began)
        self.bytes += _bytes_left(run) - before


class Module(L.LightningModule):
    """A small CNN that logs its accuracy."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SmallCNN()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch["image"]), batch["label"])

    def validation_step(self, batch: Any) -> None:
        self.log("val_acc", (self(batch["image"]).argmax(1) == batch["label"]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def run(setting: Setting) -> Result:
    """Measure a fit with every report: 32 images of 64 pixels, one explainer, TensorBoard."""
    epochs = setting.size(cpu=8, gpu=8, quick=2)
    reports = [Timed(make()) for make in _REPORTS]
    result = Result(f"Reports of 32 images of 64 pixels with one explainer over {epochs} epochs, TensorBoard, CPU time")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        L.seed_everything(0, verbose=False)
        monitor = ExplanationMonitor(metrics=["insertion_deletion", "pointing_game"], reports=reports)
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[monitor],
            logger=TensorBoardLogger(folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        data = [DataLoader(ShapesDataset(256, seed=seed), batch_size=32) for seed in (0, 1)]
        trainer.fit(Module(), *data)
    for one in reports:
        per_epoch = (sum(one.seconds["epoch"]) + sum(one.seconds["epoch's end"])) / epochs
        result.add(
            report=type(one.report).__name__,
            ms_per_epoch=1e3 * per_epoch,
            ms_at_the_end=1e3 * sum(one.seconds["fit"]),
            kB_per_epoch=one.bytes / epochs / 1e3,
        )
    return result


def _bytes_left(run: Run) -> int:
    """Return the bytes in the run's folder, with what TensorBoard would write a little later."""
    run.trainer.logger.experiment.flush()
    return sum(path.stat().st_size for path in Path(run.folder).rglob("*") if path.is_file())
