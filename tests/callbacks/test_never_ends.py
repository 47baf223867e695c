"""Whatever goes wrong while explaining, the run goes on, monitors find their keys, and loggers see real values only."""

import math
import warnings
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_xai.metrics import Sparseness
from lightning_xai.probing import sample_from_batch
from tests.callbacks._runs import (
    Attendance,
    Moody,
    Net,
    in_epochs,
    loader,
    logged,
    monitor,
    remembered,
    small_metrics,
    train,
)


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Plateau(Net):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=99)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "xai/faithfulness"}}


class Diverging(Net):
    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.head.weight.data.fill_(torch.nan)


class Unreadable:
    """A `sample_from_batch` that fails in one epoch, in every batch or from the second on."""

    attendance = None

    def __init__(self, epoch, *, later=False):
        self.epoch, self.later = epoch, later

    def __call__(self, batch):
        trainer = Unreadable.attendance.trainer
        spared = self.later and len(batch[0]) == 4 and bool(batch[0][0].equal(loader(10, seed=1).dataset.images[0]))
        if not trainer.sanity_checking and trainer.current_epoch == self.epoch and not spared:
            raise RuntimeError("no images today")
        return sample_from_batch(batch)


class FailingMetric(Sparseness):
    """Its values cannot be summed up in epoch 1, where there are no heatmaps."""

    def aggregate(self, rows):
        if bool(rows.isnan().all()):
            raise RuntimeError("no mean today")
        return super().aggregate(rows)


@dataclass
class Trouble:
    """Something that goes wrong, and the epochs that are explained nevertheless."""

    name: str
    explained: list
    message: str | None = None
    explainer: object = "grad_cam"
    metrics: list = field(default_factory=list)
    make: object = Net
    monitor: dict = field(default_factory=dict)
    trainer: dict = field(default_factory=dict)


ALL = [0, 1, 2, 3]
UNSANE = {"num_sanity_val_steps": 0}
TROUBLES = [
    Trouble("none", ALL),
    Trouble("raises_at_first", [1, 2, 3], "no heatmap today", in_epochs("raises", 0)),
    Trouble("raises_at_first_untried", [1, 2, 3], "no heatmap today", in_epochs("raises", 0), trainer=UNSANE),
    Trouble(
        "raises_untried_then_nan",
        [2, 3],
        "failed on rank 0",
        Moody(lambda epoch: ("raises", "nan", "", "")[epoch]),
        trainer=UNSANE,
    ),
    Trouble("raises_in_the_third", [0, 1, 3], "no heatmap today", in_epochs("raises", 2)),
    Trouble("raises_always", [], "no heatmap today", in_epochs("raises")),
    Trouble("zeros_at_first", ALL, None, in_epochs("zeros", 0)),
    Trouble("zeros_always", ALL, None, in_epochs("zeros")),
    Trouble("nan_in_the_third", [0, 1, 3], "to be finite", in_epochs("nan", 2)),
    Trouble("diverges", [0], "finite logits", make=Diverging),
    Trouble("unreadable_at_first", [1, 2, 3], "no images today", monitor={"sample_from_batch": Unreadable(0)}),
    Trouble(
        "unreadable_after_a_batch",
        [1, 2, 3],
        "no images today",
        monitor={"sample_from_batch": Unreadable(0, later=True)},
    ),
    Trouble("unreadable_later", [0, 2, 3], "no images today", monitor={"sample_from_batch": Unreadable(1)}),
    Trouble("metric_fails", [0, 2, 3], "no mean today", in_epochs("zeros", 1), metrics=[FailingMetric()]),
    Trouble("plateau", ALL, make=Plateau),
    Trouble("plateau_and_raises", [1, 2, 3], "no heatmap today", in_epochs("raises", 0), make=Plateau),
    Trouble("untried", ALL, trainer=UNSANE),
    Trouble("twice_per_epoch", [0, 0, 1, 2, 3], trainer={"val_check_interval": 0.5}),
    Trouble("reloads", ALL, trainer={"reload_dataloaders_every_n_epochs": 1}),
    Trouble("gaps", [0, 1, 3], monitor={"every_n_epochs": 2}),
    Trouble(
        "gaps_of_two_and_three",
        [2, 5, 8],
        monitor={"every_n_epochs": 2},
        trainer={"check_val_every_n_epoch": 3, "max_epochs": 9},
    ),
]


def watchers(folder):
    stopping = partial(EarlyStopping, patience=99)
    saving = partial(ModelCheckpoint, dirpath=folder, save_top_k=-1, save_last=True)
    return [
        stopping("xai/faithfulness", mode="max"),
        stopping("xai/heatmap_drift", mode="min"),
        saving(monitor="xai/faithfulness", mode="max", filename="{epoch}-{step}-f"),
        saving(monitor="xai/heatmap_drift", mode="min", filename="{epoch}-{step}-d"),
    ]


@pytest.mark.parametrize("first", [True, False], ids=["monitor_first", "monitors_first"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda t: t.name)
def test_the_run_goes_on(trouble, first, tmp_path):
    attendance = Attendance()
    Unreadable.attendance = attendance
    ours = monitor(trouble.explainer, [*small_metrics(), *trouble.metrics], **trouble.monitor)
    callbacks = [ours, *watchers(tmp_path)] if first else [*watchers(tmp_path), ours]
    settings = {"max_epochs": 4, "logger": CSVLogger(tmp_path), **trouble.trainer}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train([*callbacks, attendance], trouble.make, **settings)

    assert run.trainer.current_epoch == settings["max_epochs"]
    assert [row["epoch"] for row in ours.history] == trouble.explained
    told = [str(w.message) for w in caught if "ExplanationMonitor" in str(w.message)]
    failures = len(attendance.seen) - len(trouble.explained) if trouble.message is not None else 0
    assert [trouble.message in text for text in told] == [True] * failures
    assert told == [] or "patience" not in told[0]

    keys = [set(values) for _, values in attendance.seen]
    assert keys == [keys[0]] * len(keys)
    assert {"xai/faithfulness", "xai/faithfulness_gain", "xai/heatmap_drift", "xai/probe_accuracy"} <= keys[0]
    assert all(math.isfinite(value) for _, values in attendance.seen for value in values.values())

    rows = remembered(ours)
    assert logged(run.trainer).keys() == rows.keys()
    assert all(logged(run.trainer)[at] == pytest.approx(values, abs=1e-6) for at, values in rows.items())


def test_on_error_raise_ends_the_run_where_the_error_is():
    with pytest.raises(RuntimeError, match="no heatmap today"):
        train([monitor(in_epochs("raises", 1), on_error="raise")])
