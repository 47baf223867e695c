"""The monitor is a callback of `lightning` and of `pytorch_lightning`, and works the same in Trainers of both."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import lightning.pytorch
import pytest
import pytorch_lightning
import rich
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException as Misconfiguration
from lightning_fabric.utilities.exceptions import MisconfigurationException as OtherMisconfiguration
from torch import nn

from lightning_xai import Classifier, ExplanationMonitor, GradCAM, preserved
from lightning_xai.callbacks.run import watchers
from lightning_xai.model import progress
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks import _runs, _two_processes
from tests.callbacks._harm import trains_the_statistics
from tests.callbacks._runs import Constant, Net, Steps, differing, in_epochs, loader, monitor, remembered, unguarded
from tests.callbacks._scripted import files, keeping, stopping, watch

ROOT = Path(__file__).parents[2]
PACKAGES = {"lightning": lightning.pytorch, "pytorch_lightning": pytorch_lightning}
MISCONFIGURATIONS = {"lightning": Misconfiguration, "pytorch_lightning": OtherMisconfiguration}

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:[\\s\\S]*[Dd]eprecat")


@pytest.fixture(params=PACKAGES)
def name(request):
    """The package of a test's module, callbacks and Trainer."""
    return request.param


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class OtherNet(Steps, pytorch_lightning.LightningModule):
    """The same of the other package."""


NETS = {"lightning": Net, "pytorch_lightning": OtherNet}


def train(name, *callbacks, make=None, **settings):
    settings = {"train_loader": loader(), **settings}
    return _runs.train(list(callbacks), make or NETS[name], package=PACKAGES[name], **settings)


def callback(name, kind, *args, **settings):
    return getattr(PACKAGES[name].callbacks, kind)(*args, **settings)


def rows(ours):
    return [{k: v for k, v in epoch.items() if k != "xai/seconds"} for epoch in ours.history]


def with_pictures(**settings):
    return monitor(reports=[Scalars(), History(), Grid(num_images=2, cell_size=32)], **settings)


# Fit, monitors, schedulers, resume.


def test_a_callback_of_the_package(name):
    package = PACKAGES[name]
    assert issubclass(ExplanationMonitor, package.Callback)
    trainer = package.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=monitor())
    assert isinstance(trainer.callbacks[0], ExplanationMonitor)  # one, not a list of one


def test_a_fit_has_the_values_of_a_fit_of_the_other(name):
    fits = []
    for each in PACKAGES:
        ours = monitor()
        fits.append((train(each, ours).state(), rows(ours)))
    assert differing(fits[0][0], fits[1][0]) == []
    assert fits[0][1] == fits[1][1]
    assert len(fits[0][1]) == 2


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_other_stages(name, stage):
    ours = monitor()
    run = train(name, ours)
    values = ours.history[-1]
    (logged,) = getattr(run.trainer, stage)(run.module, loader(10, seed=1), verbose=False)
    assert logged["xai/faithfulness"] == pytest.approx(values["xai/faithfulness"], abs=1e-6)
    assert ours.history[-1].stage == stage


def test_no_trace(name, monkeypatch):
    def make():
        return NETS[name](dropout=0.5)

    harmful = ["grad_cam", Constant(trains_the_statistics)]
    expected = train(name, make=make).state()
    assert differing(train(name, monitor(harmful), make=make).state(), expected) == []
    with unguarded(monkeypatch):
        assert differing(train(name, monitor(harmful), make=make).state(), expected) != []


def test_early_stopping_and_checkpoints(name, tmp_path):
    ours = monitor()
    stopping = callback(name, "EarlyStopping", "xai/faithfulness", mode="max", patience=2, min_delta=10.0)
    saving = callback(name, "ModelCheckpoint", tmp_path, "{epoch}", "xai/faithfulness", mode="max", save_top_k=2)
    run = train(name, ours, stopping, saving, max_epochs=9)
    assert run.trainer.current_epoch == 3
    assert stopping.stopped_epoch == 2
    best = sorted(ours.history, key=lambda epoch: epoch["xai/faithfulness"])[-2:]
    assert sorted(Path(path).name for path in saving.best_k_models) == sorted(f"epoch={e.epoch}.ckpt" for e in best)
    assert saving.best_model_score.item() == pytest.approx(best[-1]["xai/faithfulness"])


def test_stopping_and_choosing(name, tmp_path):
    def fit(epochs, **settings):
        ours, stop = watch((0.5, 0.5, 0.5, 0.1, 0.1)), stopping(rule="fall", patience=2)
        keep = keeping(tmp_path / "kept", accuracy="val_loss", accuracy_mode="min", margin=9.0, save_last=True)
        run = train(name, stop, keep, ours, max_epochs=epochs, **settings)
        return run, stop, keep

    run, stop, keep = fit(9)
    assert isinstance(stop, PACKAGES[name].callbacks.EarlyStopping)
    assert isinstance(keep, PACKAGES[name].callbacks.ModelCheckpoint)
    assert run.trainer.checkpoint_callback is keep
    assert run.trainer.early_stopping_callback is stop
    assert (run.trainer.current_epoch, stop.stopped_epoch) == (5, 4)
    whole = (stop.stopping_reason_message, keep.reason, files(tmp_path / "kept"))
    for path in (tmp_path / "kept").glob("*.ckpt"):
        path.unlink()
    fit(3)
    run, stop, keep = fit(9, ckpt_path=tmp_path / "kept" / "last.ckpt")
    assert run.trainer.current_epoch == 5
    assert (stop.stopping_reason_message, keep.reason, files(tmp_path / "kept")) == whole


def test_a_scheduler_on_a_key(name):
    class Scheduled(NETS[name]):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=0, threshold=10.0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "xai/faithfulness"}}

    run = train(name, monitor(), make=Scheduled, max_epochs=3)
    assert run.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.1**2)
    with pytest.warns(UserWarning, match="ReduceLROnPlateau monitors 'xai/deletion_auc' with mode='max'"):
        train(name, monitor(), make=type("Wrong", (Scheduled,), {"configure_optimizers": wrong_mode}))


def wrong_mode(self):
    configured = super(type(self), self).configure_optimizers()
    configured["lr_scheduler"]["monitor"] = "xai/deletion_auc"
    return configured


def test_a_resumed_fit_is_an_uninterrupted_one(name, tmp_path):
    whole, again = monitor(), monitor()
    expected = train(name, whole, max_epochs=4)
    saving = callback(name, "ModelCheckpoint", tmp_path, "saved")
    train(name, monitor(), saving, max_epochs=2)
    run = train(name, again, max_epochs=4, ckpt_path=tmp_path / "saved.ckpt")
    assert rows(again) == rows(whole)
    assert differing(run.state(), expected.state()) == []
    other = next(each for each in PACKAGES if each != name)  # a checkpoint does not say which package wrote it
    continued = monitor()
    train(other, continued, max_epochs=4, ckpt_path=tmp_path / "saved.ckpt")
    assert rows(continued) == rows(whole)


@pytest.mark.parametrize("first", [True, False])
def test_explained_are_the_averaged_weights(name, first):
    seen = []

    def note(classifier, images):
        seen.append(next(classifier.model.parameters()).detach().clone())

    class Tells(NETS[name]):
        def on_validation_epoch_start(self):
            self.validated = next(self.parameters()).detach().clone()

    ours, averaging = monitor(Constant(note)), callback(name, "EMAWeightAveraging", decay=0.5)
    run = train(name, *([ours, averaging] if first else [averaging, ours]), make=Tells, num_sanity_val_steps=0)
    assert run.trainer.callbacks[0] is ours
    assert torch.equal(seen[-1], run.module.validated)
    assert run.trainer.callbacks.index(averaging) > 0
    train(name, monitor(), callback(name, "StochasticWeightAveraging", swa_lrs=0.05, swa_epoch_start=1))


def test_progress_is_shown_in_the_trainer_s_rich_display(name, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with (tmp_path / "screen.txt").open("w") as screen:
        console = {"file": screen, "force_terminal": True, "width": 100}
        bar = callback(name, "RichProgressBar", console_kwargs=console)
        train(name, monitor(), bar, enable_progress_bar=True)
    rich.reconfigure()
    lines = [task for task in bar.progress.tasks if task.description == "Explaining"]
    assert len(lines) == 1
    assert not lines[0].visible
    assert 0 < lines[0].completed <= lines[0].total
    assert "Explaining" in (tmp_path / "screen.txt").read_text()


# What cannot work.


def test_a_key_that_nobody_logs(name):
    stopping = callback(name, "EarlyStopping", "xai/faithfullness", mode="max")
    with pytest.raises(MISCONFIGURATIONS[name], match="Expected EarlyStopping to monitor a key"):
        train(name, monitor(), stopping)


def test_early_stopping_on_what_cannot_be_explained(name):
    stopping = callback(name, "EarlyStopping", "xai/faithfulness", mode="max", patience=1)
    failing = monitor(in_epochs("raises"))
    error = pytest.raises(MISCONFIGURATIONS[name], match="Expected values for the early stopping on xai")
    with pytest.warns(UserWarning, match="explaining failed on"), error:
        train(name, failing, stopping, max_epochs=5)


def test_the_package_s_own_misconfiguration_ends_a_run(name):
    calls = []

    def misconfigured():
        calls.append(None)
        if len(calls) > 1:  # after the sanity check, which any error ends
            raise MISCONFIGURATIONS[name]("a setting of the user's")

    with pytest.raises(MISCONFIGURATIONS[name], match="a setting of the user's"):
        train(name, monitor(Constant(fails=misconfigured)))


def test_callbacks_of_the_other_package(name, tmp_path):
    """No Trainer refuses them, and they work as far as the Trainer calls them by their hooks' names."""
    other = next(each for each in PACKAGES if each != name)
    stopping = callback(other, "EarlyStopping", "xai/faithfulness", mode="max", patience=1, min_delta=10.0)
    ours = monitor()
    run = train(name, ours, stopping, max_epochs=9)
    assert (run.trainer.current_epoch, stopping.stopped_epoch) == (2, 1)
    stopping.wait_count, stopping.best_score = 0, torch.tensor(float("-inf"))  # as before the run
    assert watchers.would_stop(run.trainer, "xai", 2, {})
    assert not watchers.would_stop(run.trainer, "xai", 1, {})
    stopping = callback(other, "EarlyStopping", "xai/unknown")
    with pytest.raises(MISCONFIGURATIONS[name], match="Expected EarlyStopping to monitor a key"):
        train(name, monitor(), stopping)


# Loggers.


def tensorboard(name, folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def found(logger):
        events = EventAccumulator(logger.log_dir).Reload()
        return [e.step for e in events.Scalars("xai/faithfulness")], [e.step for e in events.Images("xai/heatmaps")]

    return PACKAGES[name].loggers.TensorBoardLogger(folder), found


def csv(name, folder):
    def found(logger):
        logged = [step for _, step in _runs.logged(logger.trainer)]
        pictures = sorted(Path(logger.log_dir).glob("xai/heatmaps/*.png"))
        return logged, [int(re.search(r"step=(\d+)", picture.name)[1]) for picture in pictures]

    return PACKAGES[name].loggers.CSVLogger(folder), found


def wandb(name, folder):
    def found(logger):
        logger.experiment.finish()
        rows = logger.rows
        return tuple([r["trainer/global_step"] for r in rows if k in r] for k in ("xai/faithfulness", "xai/heatmaps"))

    logger = PACKAGES[name].loggers.WandbLogger(save_dir=folder, project="test", offline=True)
    log, logger.rows = logger.experiment.log, []
    logger.experiment.log = lambda row, *args, **kwargs: (logger.rows.append(row), log(row, *args, **kwargs))
    return logger, found


def mlflow(name, folder):
    pytest.importorskip("mlflow")

    def found(logger):
        logged = logger.experiment.get_metric_history(logger.run_id, "xai/faithfulness")
        pictures = folder.glob(f"mlruns/*/{logger.run_id}/artifacts/images/*.png")
        return [m.step for m in logged], sorted(int(re.search(r"step[+%](\d+)", p.name)[1]) for p in pictures)

    return PACKAGES[name].loggers.MLFlowLogger("test", save_dir=str(folder / "mlruns")), found


@pytest.mark.parametrize("make", [tensorboard, csv, wandb, mlflow])
def test_values_and_pictures_reach_the_logger(name, make, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    logger, found = make(name, tmp_path)
    ours = with_pictures()
    run = train(name, ours, logger=logger)
    logger.trainer = run.trainer
    assert found(logger) == ([3, 7], [3, 7])  # four batches an epoch
    log_dir = tmp_path / "lightning_logs" / "version_0"
    assert (log_dir / "xai_history.csv").exists() == (make in (tensorboard, csv))  # else save_dir/name/version


# LightningCLI.


class Model(Net):
    """For LightningCLI."""


class OtherModel(OtherNet):
    """For LightningCLI."""


def data_of(package):
    class Data(package.LightningDataModule):
        def train_dataloader(self):
            return loader()

        val_dataloader = train_dataloader

    return Data


PRESETS = sorted((ROOT / "callbacks").glob("*.yaml"), reverse=True)


@pytest.mark.parametrize("by", ["presets", "names"])
def test_presets_and_names_in_the_package_s_command_line(name, by, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    package = PACKAGES[name]
    cli_of = importlib.import_module(f"{package.__name__}.cli").LightningCLI
    trainer = {**_runs.QUIET, "max_epochs": 1, "default_root_dir": tmp_path}
    small = ["--trainer.callbacks.num_images=3", "--trainer.callbacks.metrics=[insertion_deletion]"]
    # two monitors, one that asks for the skill, one that asks for a recall that is not logged
    others = {"explanation_monitor", "research", "pareto_checkpoint", "joint_early_stopping"}
    presets = [path for path in PRESETS if path.stem not in others]
    if by == "names":
        small = ["--trainer.callbacks+=ExplanationMonitor", *small, "--trainer.callbacks+=EarlyStopping"]
        added = [
            *small,
            "--trainer.callbacks.monitor=xai/faithfulness",
            "--trainer.callbacks.mode=max",
            "--trainer.callbacks+=ModelCheckpoint",
        ]
    else:
        first = ["--config", str(next(path for path in PRESETS if path.stem == "explanation_monitor"))]
        added = [*first, *small, *(arg for path in presets for arg in ("--config", str(path)))]
    model = {"lightning": Model, "pytorch_lightning": OtherModel}[name]
    cli = cli_of(model, data_of(package), args=["fit", *added], trainer_defaults=trainer)
    kinds = {type(each).__name__: type(each) for each in cli.trainer.callbacks}
    assert kinds["EarlyStopping"] is package.callbacks.EarlyStopping
    assert kinds["ModelCheckpoint"] is package.callbacks.ModelCheckpoint
    (ours,) = [each for each in cli.trainer.callbacks if isinstance(each, ExplanationMonitor)]
    assert len(ours.history) == 1
    args = ["fit", "--config", str(tmp_path / "config.yaml"), "--trainer.default_root_dir", str(tmp_path / "again")]
    again = cli_of(model, data_of(package), args=args)
    (reloaded,) = [each for each in again.trainer.callbacks if isinstance(each, ExplanationMonitor)]
    assert rows(reloaded) == rows(ours)


# What is done to a module.


def test_a_module_that_logs_in_forward_is_muted(name):
    class Logs(NETS[name]):
        def forward(self, images):
            logits = super().forward(images)
            self.log("mean_logit", logits.mean())
            self.log_dict({"images": float(len(images))}, reduce_fx="sum")
            return logits

    expected = train(name, make=Logs).values()
    assert train(name, monitor(), make=Logs).values() == expected
    module = NETS[name]()
    with preserved(module), warnings.catch_warnings():
        warnings.simplefilter("error")
        module.log("loss", 1.0)
    with pytest.warns(UserWarning, match=r"self.log\(\)"):  # of a module without a Trainer
        module.log("loss", 1.0)


def test_a_module_without_forward_is_entered_by_its_only_child(name):
    class OnlySteps(PACKAGES[name].LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    module, images = OnlySteps(), torch.rand(2, 1, 8, 8)
    assert torch.equal(Classifier(module).logits(images), module.net(images))
    assert GradCAM()(module, images, 1).shape == (2, 8, 8)


class LinearClassifier:
    """A frozen or fine-tuned backbone with a linear head, in the way of self-supervised packages.

    ``forward`` takes images through ``model`` without gradients when frozen, flattens, and a shared step logs losses
    and top-k accuracies in a dict with the batch's size.
    """

    def __init__(self, model, *, freeze):
        super().__init__()
        self.save_hyperparameters(ignore=["model"])
        self.model, self.freeze = model, freeze
        self.classification_head = nn.Linear(6, 2)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, images):
        if self.freeze:
            with torch.no_grad():
                features = self.model(images).flatten(start_dim=1)
        else:
            features = self.model(images).flatten(start_dim=1)
        return self.classification_head(features)

    def shared_step(self, batch, batch_idx):
        images, targets = batch[0], batch[1]
        predictions = self.forward(images)
        top = predictions.topk(1).indices[:, 0].eq(targets).float().mean()
        return self.criterion(predictions, targets), {1: top}

    def training_step(self, batch, batch_idx):
        loss, topk = self.shared_step(batch=batch, batch_idx=batch_idx)
        log = {f"train_top{k}": accuracy for k, accuracy in topk.items()}
        self.log("train_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch[0]))
        self.log_dict(log, sync_dist=True, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch, batch_idx):
        loss, topk = self.shared_step(batch=batch, batch_idx=batch_idx)
        self.log("val_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch[0]))
        self.log_dict({f"val_top{k}": a for k, a in topk.items()}, prog_bar=True, batch_size=len(batch[0]))
        return loss

    def configure_optimizers(self):
        parameters = list(self.classification_head.parameters())
        if not self.freeze:
            parameters += list(self.model.parameters())
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_train_epoch_start(self):
        if self.freeze:
            self.model.eval()


@pytest.mark.parametrize("freeze", [True, False])
def test_a_linear_classifier_on_a_backbone(name, freeze):
    kind = type("Linear", (LinearClassifier, PACKAGES[name].LightningModule), {})

    def make():
        backbone = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        return kind(backbone, freeze=freeze)

    expected = train(name, make=make)
    ours = monitor(GradCAM("model.3"))
    run = train(name, ours, callback(name, "EarlyStopping", "xai/faithfulness", mode="max"), make=make)
    assert differing(run.state(), expected.state()) == []
    assert run.values() == expected.values()
    assert [epoch.epoch for epoch in ours.history] == [0, 1]
    top = run.values()["val_top1"]
    assert 0.0 <= top <= 1.0


# Two processes.


def test_two_processes_have_the_values_of_one(tmp_path, monkeypatch):
    ranks = _two_processes.run(tmp_path, __name__)
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    for name in PACKAGES:
        expected = explained_in_processes(name)
        for found in (rank[name] for rank in ranks):
            assert found["kept"] == expected["kept"]
            assert found["differing"] == []
            assert [epoch for epoch, _ in found["rows"]] == [epoch for epoch, _ in expected["rows"]] == [0, 1]
            for row, wanted in zip(found["rows"].values(), expected["rows"].values(), strict=True):
                assert row.keys() == wanted.keys()
                close = ["xai/faithfulness", "xai/insertion_auc", "xai/probe_confidence"]
                assert [row[key] for key in close] == pytest.approx([wanted[key] for key in close], abs=1e-6)


def explained_in_processes(name):
    """Return what one of any number of processes finds: the weights stand still, so that all find the same."""

    class Still(NETS[name]):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def training_step(self, batch, batch_idx):
            self.net[1].eval()
            return super().training_step(batch, batch_idx)

    ours = monitor(num_images=5)
    saving = callback(name, "ModelCheckpoint", Path("kept", name), "{epoch}", "xai/faithfulness", mode="max")
    stopping = callback(name, "EarlyStopping", "xai/faithfulness", mode="max", patience=1)
    run = train(name, ours, saving, stopping, make=Still, val_loader=loader(7, seed=1), max_epochs=4)
    expected = train(name, make=Still, val_loader=loader(7, seed=1), max_epochs=2)
    return {
        "rows": remembered(ours),
        "kept": Path(saving.best_model_path).name,
        "differing": differing(
            {k: v for k, v in run.state().items() if k.startswith("weights")},
            {k: v for k, v in expected.state().items() if k.startswith("weights")},
        ),
    }


# Which package is there, and which was imported when.

ALONE = """
import sys
from importlib.machinery import PathFinder

names = ("lightning", "pytorch_lightning")
absent, find = {{*names, "lightning_fabric"}}, PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: None if name.partition(".")[0] in absent else find(name, *args)

import lightning_xai, torch
net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
assert lightning_xai.GradCAM()(net, torch.ones(1, 1, 8, 8), 0).shape == (1, 8, 8)
try:
    lightning_xai.ExplanationMonitor()
except ModuleNotFoundError as error:
    print(error)
absent &= {absent!r}
package, = [name for name in names if name not in absent]
from lightning_xai import ExplanationCheckpoint, ExplanationEarlyStopping
from lightning_xai import ExplanationMonitor, GradCAM, Grid, History, InsertionDeletion, JointEarlyStopping, Scalars

joint = JointEarlyStopping({{"val_loss": "min"}}, patience=1, min_delta=100.0)
stop = ExplanationEarlyStopping(rule="no_gain", patience=1, min_delta=2.0)
keep = ExplanationCheckpoint(save_last=True)
reports = [Scalars(), History(), Grid(num_images=1, cell_size=32)]
early = ExplanationMonitor("grad_cam", [InsertionDeletion(num_steps=4)], num_images=2, reports=reports)
assert not set(names) & set(sys.modules), "imported before it is used"

if package == "lightning":
    import lightning.pytorch as L
    from lightning.fabric.utilities.exceptions import MisconfigurationException
else:
    import pytorch_lightning as L
    from lightning_fabric.utilities.exceptions import MisconfigurationException

class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
    def forward(self, images):
        return self.net(images)
    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def fit(package, module, monitor, key="xai/faithfulness", more=()):
    trainer = package.Trainer(
        accelerator="cpu", max_epochs=2, logger=package.loggers.CSVLogger("logs"), enable_progress_bar=False,
        callbacks=[monitor, package.callbacks.EarlyStopping(key, mode="max"), *more],
    )
    trainer.fit(module, loader, loader)

data = torch.utils.data.TensorDataset(torch.rand(4, 1, 8, 8), torch.arange(4) % 2)
loader = torch.utils.data.DataLoader(data, 2)
assert isinstance(early, L.Callback)
fit(L, Module(), early, more=[stop, keep, joint])
assert len(early.history) == 2
assert isinstance(stop, L.callbacks.EarlyStopping) and isinstance(keep, L.callbacks.ModelCheckpoint)
assert stop.stopped_epoch == 1 and "no gain above 2" in stop.stopping_reason_message
assert joint.stopped_epoch == 1 and "val_loss improved in the last check" in joint.stopping_reason_message
assert torch.load(keep.best_model_path, weights_only=True)["callbacks"][keep.state_key]["candidates"]
try:
    fit(L, Module(), ExplanationMonitor(), key="xai/nothing")
except MisconfigurationException as error:
    assert "xai/nothing" in str(error)
else:
    raise AssertionError("a key that nobody logs")
assert not absent & set(sys.modules), absent & set(sys.modules)

PathFinder.find_spec = find
import lightning, pytorch_lightning
assert isinstance(early, lightning.pytorch.Callback) and isinstance(early, pytorch_lightning.Callback)
print("done")
"""


def in_a_process(code, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def test_without_both_packages_then_with_one_that_is_imported_after_ours(name, tmp_path):
    absent = {"lightning": {"pytorch_lightning", "lightning_fabric"}, "pytorch_lightning": {"lightning"}}[name]
    done = in_a_process(ALONE.format(absent=absent), tmp_path)
    assert re.match("Expected `lightning` or `pytorch_lightning` .* neither: pip install lightning\n", done.stdout), (
        done.stderr[-3000:]
    )
    assert done.stdout.endswith("done\n"), done.stderr[-3000:]
    assert len(list((tmp_path / "logs").rglob("*.png"))) == 2


if __name__ == "__main__":
    torch.set_num_threads(1)
    _runs.QUIET.update(devices=2, strategy="ddp")
    found_in_each = {package: explained_in_processes(package) for package in PACKAGES}
    torch.save(found_in_each, Path(sys.argv[1]) / f"found{os.environ['RANK']}.pt")
    _two_processes.leave()
