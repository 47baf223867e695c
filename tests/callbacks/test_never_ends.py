"""Whatever goes wrong while explaining, the run goes on, monitors find their keys, and loggers see real values only."""

import math
import warnings
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_xai.callbacks import Grid, sample_from_batch
from lightning_xai.metrics import Sparseness
from tests.callbacks._runs import Attendance, Moody, Net, loader, logged, monitor, remembered, small_metrics, train


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


def in_epochs(mood, *epochs):
    return Moody(lambda epoch: mood if not epochs or epoch in epochs else "")


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
    Trouble("raises_in_the_third", [0, 1, 3], "no heatmap today", in_epochs("raises", 2)),
    Trouble("raises_always", [], "no heatmap today", in_epochs("raises")),
    Trouble("zeros_at_first", ALL, None, in_epochs("zeros", 0)),
    Trouble("zeros_always", ALL, None, in_epochs("zeros")),
    Trouble("nan_in_the_third", [0, 1, 3], "to be finite", in_epochs("nan", 2)),
    Trouble("diverges", [0], "to be finite", make=Diverging),
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
    Trouble("twice_per_epoch", [0, 0, 1, 1, 2, 2, 3, 3], trainer={"val_check_interval": 0.5}),
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


class TestStandIns:
    """What monitors see where there is no value."""

    def seen(self, explainer, key, **settings):
        attendance = Attendance()
        train([monitor(explainer), attendance], max_epochs=3, **settings)
        return [values[key] for _, values in attendance.seen]

    @pytest.mark.parametrize(
        ("key", "worst"),
        [
            ("xai/faithfulness", -1.0),
            ("xai/insertion_auc", 0.0),
            ("xai/deletion_auc", 1.0),
            ("xai/faithfulness_gain", -2.0),
            ("xai/heatmap_drift", 2.0),
            ("xai/probe_accuracy", 0.0),
            ("xai/undefined/heatmap_drift", 4.0),
        ],
    )
    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_the_worst_value_stands_in_until_there_is_one(self, key, worst):
        assert self.seen(in_epochs("raises"), key) == [worst] * 3

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_the_last_good_value_stands_in_after_that(self):
        found = self.seen(in_epochs("raises", 1), "xai/faithfulness")
        assert found[0] == found[1] != found[2]

    def test_an_undefined_value_leaves_the_last_good_one(self):
        found = self.seen(in_epochs("zeros", 2), "xai/heatmap_drift")
        assert found[0] == 2.0
        assert found[2] == found[1] < 2.0


@pytest.mark.parametrize("explainer", [in_epochs("raises"), in_epochs("nan", 1, 2, 3, 4)])
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_early_stopping_that_checks_for_finite_values_runs_out_of_patience_only(explainer):
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=3, check_finite=True)
    run = train([monitor(explainer), stopping], max_epochs=9)
    assert run.trainer.current_epoch == 1 + 3
    assert "did not improve" in stopping.stopping_reason_message


@pytest.mark.parametrize("explained", [True, False])
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_keys_of_several_loaders_exist(explained):
    attendance = Attendance()
    stopping = EarlyStopping("xai/heatmap_drift/dataloader_idx_1", mode="min", patience=99)
    ours = monitor(in_epochs("" if explained else "raises"))
    run = train([stopping, ours, attendance], val_loader=[loader(6, seed=1), loader(5, seed=2)], max_epochs=3)
    assert run.trainer.current_epoch == 3
    assert len(ours.history) == (3 if explained else 0)
    suffixes = {key.rsplit("/", 1)[1] for _, values in attendance.seen for key in values}
    assert suffixes == {"dataloader_idx_0", "dataloader_idx_1"}
    assert [set(values) for _, values in attendance.seen] == [set(attendance.seen[0][1])] * 3


def test_on_error_raise_ends_the_run_where_the_error_is():
    with pytest.raises(RuntimeError, match="no heatmap today"):
        train([monitor(in_epochs("raises", 1), on_error="raise")])


class TestDisk:
    """What cannot be written is told; the run goes on."""

    def test_a_history_that_cannot_be_written(self, tmp_path):
        (tmp_path / "full").write_text("a file where the folder should be")
        ours = monitor()
        with pytest.warns(UserWarning, match="could not write epoch"):
            run = train([ours], default_root_dir=tmp_path / "full")
        assert run.trainer.current_epoch == 2
        assert len(ours.history) == 2

    def test_a_full_disk(self, monkeypatch):
        from lightning_xai.callbacks.history import History

        def full(self, path):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(History, "write", full)
        with pytest.warns(UserWarning, match="No space left on device"):
            run = train([monitor()])
        assert run.trainer.current_epoch == 2
        assert "xai/faithfulness" in run.trainer.callback_metrics

    @pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("gone"), TypeError("gone"), KeyError("gone")])
    def test_a_logger_that_fails(self, error, tmp_path):
        class Failing(TensorBoardLogger):
            @property
            def experiment(self):
                if "add_image" in self.failing:
                    raise error
                return super().experiment

        logger = Failing(tmp_path)
        logger.failing = ()
        ours = monitor(grid=Grid(num_images=2, cell_size=32))

        class Breaks(Net):
            def on_validation_epoch_start(self):
                logger.failing = ("add_image",)

            def on_validation_epoch_end(self):
                logger.failing = ()

        with pytest.warns(UserWarning, match="could not write epoch"):
            run = train([ours], Breaks, logger=logger)
        assert run.trainer.current_epoch == 2
        assert len(ours.history) == 2
        assert list(tmp_path.rglob("xai_history.csv"))


class TestGaps:
    """Explained: every n-th epoch, the first validation of a fit, and what comes n or more epochs after the last."""

    def rule(self, validated, n):
        explained, last = [], None
        for epoch in validated:
            if last is None or (epoch + 1) % n == 0 or epoch - last >= n:
                explained.append(epoch)
                last = epoch
        return explained

    @pytest.mark.parametrize(
        ("n", "m", "expected"),
        [
            (1, 1, list(range(8))),
            (2, 1, [0, 1, 3, 5, 7]),
            (3, 1, [0, 2, 5]),
            (4, 1, [0, 3, 7]),
            (2, 3, [2, 5]),
            (3, 2, [1, 5]),
            (2, 2, [1, 3, 5, 7]),
            (9, 1, [0]),
        ],
    )
    def test_explained_epochs(self, n, m, expected):
        ours = monitor(in_epochs(""), [], every_n_epochs=n)
        train([ours], max_epochs=8, check_val_every_n_epoch=m)
        found = [row["epoch"] for row in ours.history]
        assert found == expected == self.rule(range(m - 1, 8, m), n)

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_an_epoch_that_failed_is_made_up_for_at_the_next_validation(self):
        ours = monitor(in_epochs("raises", 3), [], every_n_epochs=2)
        train([ours], max_epochs=8)
        assert [row["epoch"] for row in ours.history] == [0, 1, 4, 5, 7]
