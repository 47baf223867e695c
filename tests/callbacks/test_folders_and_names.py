"""What is kept of runs that meet in a folder, in one callback, or in names: nothing is lost, nothing is mixed."""

from __future__ import annotations

import csv
import os

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger

from lightning_xai import ExplanationMonitor
from lightning_xai.metrics import InsertionDeletion, Sparseness
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks._tiny import Module, Squares, fit, trainer_of


def monitor(**settings):
    given = {"metrics": [InsertionDeletion(4)], "num_images": 4, "reports": [Scalars(), History()], **settings}
    return ExplanationMonitor(**given)


def epochs_in(path):
    with path.open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_nested_run_of_the_same_callback_leaves_the_fit_alone(tmp_path, stage):
    ours, data = monitor(), Squares(12)

    class Nested(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                inner = trainer_of(ours, default_root_dir=tmp_path / "inner")
                getattr(inner, stage)(pl_module, data.loader(), verbose=False)
                pl_module.trainer = trainer
                pl_module.train()

    fit(ours, Nested(), val=data.loader(), max_epochs=4, default_root_dir=tmp_path / "outer")
    assert [(one.stage, one.epoch) for one in ours.history] == [
        *(("fit", epoch) for epoch in range(4)),
        (stage, 0),
    ]
    assert len(ours.state_dict()["epochs"]) == 4
    assert epochs_in(tmp_path / "outer/xai_history.csv") == [0, 1, 2, 3]
    assert epochs_in(tmp_path / f"inner/xai_history_{stage}.csv") == [0]


def test_a_fit_that_goes_on_continues_its_files(tmp_path):
    ours, data, module = monitor(), Squares(12), Module()
    trainer = fit(ours, module=module, val=data.loader(), max_epochs=2, logger=CSVLogger(tmp_path))
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, data.loader(), data.loader())
    (path,) = tmp_path.rglob("xai_history.csv")
    assert epochs_in(path) == [0, 1, 2, 3]
    assert [one.epoch for one in ours.history] == [0, 1, 2, 3]


def test_a_second_fit_in_a_folder_leaves_the_first_one_s_files(tmp_path):
    data = Squares(12)
    reports = [Scalars(), History(), Grid(num_images=1, cell_size=32)]
    fit(monitor(reports=reports), val=data.loader(), max_epochs=3, default_root_dir=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    again = monitor(reports=reports)
    fit(again, val=data.loader(), max_epochs=1, default_root_dir=tmp_path)
    fit(again, val=data.loader(), max_epochs=2, default_root_dir=tmp_path)  # the same callback, a new fit
    assert all(path.read_bytes() == content for path, content in before.items())
    assert epochs_in(tmp_path / "xai_history.csv") == [0, 1, 2]
    assert epochs_in(tmp_path / "xai-v1/xai_history.csv") == [0]
    assert epochs_in(tmp_path / "xai-v2/xai_history.csv") == [0, 1]
    assert [len(list((tmp_path / f"xai-v{i}").rglob("*.png"))) for i in (1, 2)] == [1, 2]


def test_a_resumed_fit_continues_in_its_folder(tmp_path):
    data = Squares(12)
    saves = ModelCheckpoint(tmp_path / "checkpoints", save_last=True)
    fit(monitor(), saves, val=data.loader(), max_epochs=2, default_root_dir=tmp_path, enable_checkpointing=True)
    again = monitor()
    trainer = trainer_of(again, default_root_dir=tmp_path, max_epochs=4)
    trainer.fit(Module(), data.loader(), data.loader(), ckpt_path=tmp_path / "checkpoints/last.ckpt")
    assert epochs_in(tmp_path / "xai_history.csv") == [0, 1, 2, 3]
    assert not (tmp_path / "xai-v1").exists()


def test_every_validated_checkpoint_is_kept_by_name(tmp_path):
    data = Squares(12)
    saves = ModelCheckpoint(tmp_path / "checkpoints", save_top_k=-1)
    fit(saves, val=data.loader(), max_epochs=3, default_root_dir=tmp_path, enable_checkpointing=True)
    paths = sorted((tmp_path / "checkpoints").iterdir())
    ours = monitor(reports=[Scalars(), History(), Grid(num_images=1, cell_size=32)])
    trainer = trainer_of(ours, default_root_dir=tmp_path / "run")
    for path in paths:
        trainer.validate(Module(), data.loader(), ckpt_path=path, verbose=False)
    assert [one.checkpoint for one in ours.history] == [str(path) for path in paths]
    saved = [torch.load(path, weights_only=False) for path in paths]
    moments = [(one["epoch"], one["global_step"]) for one in saved]
    assert [(one.epoch, one.step) for one in ours.history] == moments
    with (tmp_path / "run/xai_history_validate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["checkpoint"] for row in rows] == [path.name for path in paths]
    assert len({row["xai/faithfulness"] for row in rows}) == len(paths)
    pictures = sorted(path.name for path in (tmp_path / "run").rglob("*.png"))
    assert pictures == [f"epoch={epoch:04d}-step={step:08d}.png" for epoch, step in moments]


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_files_stay_where_they_are_when_the_working_directory_changes(tmp_path, monkeypatch, stage):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    class Wanders(L.Callback):
        def on_validation_batch_end(self, *_):
            os.chdir(tmp_path / "elsewhere")

    ours, data = monitor(), Squares(12)
    if stage == "fit":
        fit(ours, Wanders(), val=data.loader(), max_epochs=2, default_root_dir="out")
    else:
        trainer = trainer_of(ours, Wanders(), default_root_dir="out")
        trainer.validate(Module(), data.loader(), verbose=False)
    suffix = "" if stage == "fit" else "_validate"
    assert (tmp_path / f"out/xai_history{suffix}.csv").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../x", "a/../b", "x\0y", "p" * 300, "=1+1", "+x", "-x", "@x", " ", "a//b", "a\nb", ".", ".."]
)
@pytest.mark.parametrize("argument", ["prefix", "explainers", "metrics"])
def test_names_that_cannot_be_a_key_a_path_and_a_cell(name, argument):
    given = {
        "prefix": name,
        "explainers": {name: "grad_cam"},
        "metrics": {name: Sparseness()},
    }
    with pytest.raises(ValueError, match=f"Expected names in `{argument}` to be words"):
        ExplanationMonitor(**{argument: given[argument]})


@pytest.mark.parametrize("name", [5, None, ("a",)])
@pytest.mark.parametrize("argument", ["explainers", "metrics"])
def test_names_that_are_no_words(name, argument):
    given = {"explainers": {name: "grad_cam"}, "metrics": {name: Sparseness()}}
    with pytest.raises(TypeError, match=f"Expected names in `{argument}` to be words"):
        ExplanationMonitor(**{argument: given[argument]})


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        ({"probe_accuracy": Sparseness()}, "xai/probe_accuracy"),
        ({"seconds": Sparseness()}, "xai/seconds"),
        ({"f": InsertionDeletion(4), "f_gain": Sparseness()}, "xai/f_gain"),
        ({"f": InsertionDeletion(4), "control/f": Sparseness()}, "xai/control/f"),
        ({"f": InsertionDeletion(4), "undefined/f": Sparseness()}, None),
    ],
)
def test_names_that_are_taken(names, taken):
    if taken is None:
        ExplanationMonitor(metrics=names)
        return
    with pytest.raises(ValueError, match=f"gives? every value its own key, but several give '{taken}'"):
        ExplanationMonitor(metrics=names)


def test_names_that_are_taken_by_an_explainer():
    with pytest.raises(ValueError, match="'xai/control/faithfulness'"):
        ExplanationMonitor({"control": "grad_cam", "other": "saliency"}, InsertionDeletion(4))


@pytest.mark.parametrize("name", ["grad-cam", "Grad-CAM (3)", "stage/early", "größe", "x=1"])
def test_names_that_are_fine(name):
    watched = ExplanationMonitor({name + ".5": "grad_cam"}, {name: Sparseness()}, prefix=name + ".5")
    assert f"{name}.5/{name}" in watched.keys.all(annotated=False)


class Plateau(Module):
    def __init__(self, key, **schedule):
        super().__init__()
        self.key, self.schedule = key, schedule

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": self.key, **self.schedule}}


KEY = "xai/faithfulness"
BEST = {"mode": "max"}


@pytest.mark.parametrize(
    ("module", "callbacks", "settings"),
    [
        (lambda: Plateau(KEY), [], {"check_val_every_n_epoch": 2}),
        (lambda: Plateau(KEY, interval="step"), [], {}),
        (lambda: Plateau(KEY, interval="step", frequency=2), [], {"check_val_every_n_epoch": 3}),
        (
            Module,
            [lambda: EarlyStopping(KEY, **BEST, check_on_train_epoch_end=True)],
            {"check_val_every_n_epoch": 3},
        ),
        (
            Module,
            [lambda: ModelCheckpoint(monitor=KEY, **BEST, every_n_train_steps=1)],
            {"enable_checkpointing": True},
        ),
    ],
)
def test_monitors_find_our_keys_before_the_first_validation(tmp_path, module, callbacks, settings):
    ours, data = monitor(), Squares(12)
    made = [make() for make in callbacks]
    trainer = fit(
        ours, *made, module=module(), val=data.loader(), max_epochs=4, default_root_dir=tmp_path,
        num_sanity_val_steps=1, **settings,
    )  # fmt: skip
    assert trainer.current_epoch == 4
    assert float(trainer.callback_metrics[KEY]) == pytest.approx(ours.history[-1][KEY])


def test_private_runs_tell_numbers_only(tmp_path):
    reports = [Scalars(), History(), Grid(num_images=1, cell_size=32, files=True)]
    fit(monitor(reports=reports, private=True), val=Squares(12).loader(), default_root_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["xai_history.csv", "xai_images.csv"]


class Foreign(Logger):
    """Not one of Lightning's own; asking for one of its attributes fails."""

    def __init__(self, folder, broken):
        super().__init__()
        self.folder, self.broken = str(folder), broken

    def _told(self, name, value):
        if name == self.broken:
            raise ConnectionError("no server")
        return value

    @property
    def save_dir(self):
        return self._told("save_dir", self.folder)

    @property
    def name(self):
        return self._told("name", "named")

    @property
    def version(self):
        return self._told("version", 3)

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *args, **kwargs):
        pass


@pytest.mark.parametrize(
    ("broken", "folder"),
    [(None, "logs/named/3"), ("name", "logs"), ("version", "logs")],
)
@pytest.mark.filterwarnings("ignore:ExplanationMonitor writes into")
def test_a_logger_that_fails_ends_no_run(tmp_path, broken, folder):
    ours = monitor()
    logger = Foreign(tmp_path / "logs", broken)
    fit(ours, val=Squares(12).loader(), logger=logger, default_root_dir=tmp_path / "root")
    assert len(ours.history) == 1
    assert (tmp_path / folder / "xai_history.csv").exists()
