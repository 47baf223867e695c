from __future__ import annotations

import csv
import io
import re
import time

import numpy as np
import pytest
import rich
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_xai import ExplanationMonitor, Readout
from lightning_xai.explainers import Explainer
from lightning_xai.metrics import AvgSensitivity
from lightning_xai.model import progress
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks._tiny import NO_PICTURES, Module, Squares, cheap, fit, trainer_of

STEPS = [1, 3]  # two batches an epoch, where Lightning puts the validation's scalars
PNGS = [f"xai/heatmaps/epoch={epoch:04d}-step={step:08d}.png" for epoch, step in enumerate(STEPS)]


def monitor(explainers="grad_cam", metrics=None, **settings):
    given = {"num_images": 4, "reports": (Scalars(), History(), Grid(num_images=2, cell_size=32)), **settings}
    return ExplanationMonitor(explainers, cheap() if metrics is None else metrics, **given)


def files(folder, *ignored):
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.startswith(ignored))


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(source):
    with Image.open(source) as image:
        return np.array(image.convert("RGB"))


def logged(watched, name):
    return [row[f"xai/{name}"] for row in watched.history]


def test_tensorboard(tmp_path):
    logger, watched = TensorBoardLogger(tmp_path), monitor()
    fit(watched, logger=logger, max_epochs=2)
    events = EventAccumulator(logger.log_dir, size_guidance={"scalars": 0, "images": 0}).Reload()
    names = {name for row in watched.history for name in row if name.startswith("xai/") and not name.endswith("_se")}
    assert names == {name for name in events.Tags()["scalars"] if name.startswith("xai/")}
    for name in ("faithfulness", "faithfulness_gain", "control/faithfulness", "undefined/sparseness", "seconds"):
        scalars = events.Scalars(f"xai/{name}")
        assert [scalar.step for scalar in scalars] == [s.step for s in events.Scalars("val_loss")] == STEPS
        assert [scalar.value for scalar in scalars] == pytest.approx(logged(watched, name))
    assert events.Tags()["images"] == ["xai/heatmaps"]
    pictures = events.Images("xai/heatmaps")
    assert [picture.step for picture in pictures] == STEPS
    drawn = [pixels(io.BytesIO(picture.encoded_image_string)) for picture in pictures]
    assert drawn[0].shape == drawn[1].shape
    assert not np.array_equal(*drawn)
    assert files(tmp_path, "lightning_logs/version_0/events") == [
        "lightning_logs/version_0/hparams.yaml",
        "lightning_logs/version_0/xai_history.csv",
        "lightning_logs/version_0/xai_images.csv",
    ]


def test_wandb(tmp_path, monkeypatch, capfd):
    for name, value in {"MODE": "offline", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    logger, watched = WandbLogger(save_dir=tmp_path, project="project", version="run", offline=True), monitor()
    rows, log = [], logger.experiment.log
    monkeypatch.setattr(logger.experiment, "log", lambda row, *a, **k: (rows.append(row), log(row, *a, **k)))
    fit(watched, logger=logger, max_epochs=2)
    logger.experiment.finish()
    scalars = [row for row in rows if "xai/faithfulness" in row]
    pictures = [row for row in rows if "xai/heatmaps" in row]
    assert [row["trainer/global_step"] for row in scalars] == STEPS
    assert [row["trainer/global_step"] for row in pictures] == STEPS
    assert [row["xai/faithfulness"] for row in scalars] == pytest.approx(logged(watched, "faithfulness"))
    media = list(tmp_path.glob("wandb/offline-run-*/files/media/images/xai/heatmaps_*.png"))
    assert len(media) == 2
    assert all(pixels(path).max() > 200 for path in media)
    assert "less than the current step" not in capfd.readouterr().err
    assert files(tmp_path, "wandb/") == ["project/run/xai_history.csv", "project/run/xai_images.csv"]


def test_csv_logger(tmp_path):
    logger, watched = CSVLogger(tmp_path), monitor()
    fit(watched, logger=logger, max_epochs=2)
    rows = [row for row in read(tmp_path / "lightning_logs/version_0/metrics.csv") if row["xai/faithfulness"]]
    assert [int(row["step"]) for row in rows] == STEPS
    assert [float(row["xai/faithfulness"]) for row in rows] == pytest.approx(logged(watched, "faithfulness"))
    folder = tmp_path / "lightning_logs/version_0"
    assert files(folder) == ["metrics.csv", *PNGS, "xai_history.csv", "xai_images.csv"]


def test_without_a_logger(tmp_path):
    watched = monitor()
    fit(watched, default_root_dir=tmp_path, max_epochs=2)
    assert files(tmp_path) == [*PNGS, "xai_history.csv", "xai_images.csv"]
    rows = read(tmp_path / "xai_history.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "1"), ("1", "3")]
    assert list(rows[0])[:2] == ["epoch", "step"]
    for row, kept in zip(rows, watched.history, strict=True):
        assert {name: float(value) for name, value in row.items() if value} == kept
    assert {"xai/faithfulness", "xai/faithfulness_se", "xai/faithfulness_gain_se", "xai/sparseness"} <= rows[0].keys()
    assert "xai/seconds_se" not in rows[0]
    grids = [pixels(tmp_path / path) for path in PNGS]
    assert grids[0].shape[0] >= 2 * 32
    assert not np.array_equal(*grids)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_runs_outside_a_fit_write_their_own_history(tmp_path, stage):
    getattr(trainer_of(monitor(), default_root_dir=tmp_path), stage)(Module(), Squares().loader())
    assert files(tmp_path) == [
        "xai/heatmaps/epoch=0000-step=00000000.png",
        f"xai_history_{stage}.csv",
        f"xai_images_{stage}.csv",
    ]


def test_several_loggers_at_once(tmp_path):
    loggers = [TensorBoardLogger(tmp_path / "tb"), CSVLogger(tmp_path / "csv")]
    watched = monitor()
    fit(watched, logger=loggers, max_epochs=2)
    events = EventAccumulator(loggers[0].log_dir).Reload()
    assert [picture.step for picture in events.Images("xai/heatmaps")] == STEPS
    rows = [row for row in read(tmp_path / "csv/lightning_logs/version_0/metrics.csv") if row["xai/faithfulness"]]
    assert [float(row["xai/faithfulness"]) for row in rows] == pytest.approx(logged(watched, "faithfulness"))
    assert (tmp_path / "tb/lightning_logs/version_0/xai_history.csv").exists()
    assert not list(tmp_path.rglob("*.png"))  # a logger shows them


def test_loaders_explainers_and_prefixes_have_their_own_pictures(tmp_path):
    data = Squares(6)
    first = monitor(["grad_cam", "center_heatmap"])
    second = monitor(
        prefix="val/xai", reports=[Scalars(), History(), Grid(1, class_names=["a", "b", "c"], cell_size=32)]
    )
    fit(first, second, val=[data.loader(), data.loader(data.labels, data.masks)], default_root_dir=tmp_path)
    picture = "heatmaps/dataloader_idx_{}/epoch=0000-step=00000001.png"
    expected = [f"{prefix}/{picture.format(loader)}" for prefix in ("val/xai", "xai") for loader in (0, 1)]
    written = [f"{prefix}_{kind}.csv" for prefix in ("val/xai", "xai") for kind in ("history", "images")]
    assert files(tmp_path) == sorted([*expected, *written])
    two, one = (pixels(tmp_path / f"{prefix}/{picture.format(0)}") for prefix in ("xai", "val/xai"))
    assert two.shape[1] > one.shape[1] + 32


def test_no_grid(tmp_path):
    fit(monitor(reports=NO_PICTURES), default_root_dir=tmp_path)
    assert files(tmp_path) == ["xai_history.csv", "xai_images.csv"]


def test_without_scalars_monitors_see_what_loggers_do_not(tmp_path):
    logger = CSVLogger(tmp_path)
    trainer = fit(monitor(reports=Grid(num_images=2, cell_size=32)), logger=logger)
    assert trainer.callback_metrics["xai/faithfulness"].isfinite()
    rows = read(tmp_path / "lightning_logs/version_0/metrics.csv")
    assert "val_loss" in rows[0]
    assert not [name for row in rows for name in row if name.startswith("xai/")]
    assert files(tmp_path / "lightning_logs/version_0") == ["metrics.csv", PNGS[0]]


def test_a_run_folder_that_is_not_on_this_machine():
    import fsspec

    remote = fsspec.filesystem("memory")
    watched = monitor()
    fit(watched, default_root_dir="memory://runs/monitored", max_epochs=2)
    written = sorted(name.removeprefix("/runs/monitored/") for name in remote.find("/runs/monitored"))
    assert written == [*PNGS, "xai_history.csv", "xai_images.csv"]
    text = remote.cat("/runs/monitored/xai_history.csv").decode().splitlines()
    rows = list(csv.DictReader(text))
    assert [{name: float(value) for name, value in row.items() if value} for row in rows] == watched.history
    assert pixels(io.BytesIO(remote.cat(f"/runs/monitored/{PNGS[1]}"))).shape[0] >= 2 * 32


def test_fast_dev_run_writes_nothing(tmp_path):
    watched = monitor()
    fit(watched, logger=TensorBoardLogger(tmp_path), default_root_dir=tmp_path, fast_dev_run=True)
    assert len(watched.history) == 1
    assert files(tmp_path) == []


def test_a_full_disk_is_told_and_survived(tmp_path):
    (tmp_path / "xai_history.csv").mkdir()
    watched = monitor()
    with pytest.warns(UserWarning, match="History could not tell epoch 0: .*xai_history"):
        trainer = fit(watched, default_root_dir=tmp_path)
    assert "xai/faithfulness" in trainer.callback_metrics


def test_the_share_of_time_is_said_once(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(monitor(), default_root_dir=tmp_path, max_epochs=2)
    said = [record.message for record in caplog.records if "ExplanationMonitor took" in record.message]
    assert len(said) == 1
    assert re.search(r"took \d+\.\d s, \d+% of this epoch so far\. To spend less: every_n_epochs, num_images", said[0])


class Asking(Explainer):
    """Costs one evaluation, as it says, and time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def explain(self, classifier, images, target):
        classifier.logits(images)
        time.sleep(self.seconds)
        return images.sum(1)


def slow(seconds=0.0):
    readout = Readout(chunk_size=8)
    return monitor(Asking(seconds), [AvgSensitivity(num_samples=3)], reports=NO_PICTURES, readout=readout)


@pytest.fixture
def screen():
    """What rich draws on a terminal."""
    output = io.StringIO()
    yield output, RichProgressBar(console_kwargs={"file": output, "force_terminal": True, "width": 100})
    rich.reconfigure()


def drawn(output):
    """Lines on a terminal, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue()).replace("\r", "\n").splitlines()


def test_the_rich_progress_bar_has_a_line_for_explaining(tmp_path, screen, monkeypatch, capfd):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    output, bar = screen
    trainer = fit(slow(0.1), bar, enable_progress_bar=True, default_root_dir=tmp_path, max_epochs=2)
    lines = [line for line in drawn(output) if "Explaining" in line]
    assert lines
    assert all(re.match(r"Explaining ━*[╸╺]?━* \d+/20 ", line) for line in lines)
    assert any("16/20" in line for line in lines)
    assert "Explaining" not in "".join(capfd.readouterr())  # no second display
    tasks = trainer.progress_bar_callback.progress.tasks
    assert [(task.visible, task.completed) for task in tasks if task.description == "Explaining"] == [(False, 20)]
    assert [task.id for task in tasks] == list(range(len(tasks)))  # Lightning finds its own by position


@pytest.mark.parametrize("make", [RichProgressBar, TQDMProgressBar])
def test_short_explanations_show_no_bar(tmp_path, make, capfd):
    fit(slow(), make(), enable_progress_bar=True, default_root_dir=tmp_path)
    assert "Explaining" not in "".join(capfd.readouterr())
    rich.reconfigure()


def test_the_tqdm_progress_bar_has_a_bar_for_explaining(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    fit(slow(0.2), TQDMProgressBar(), enable_progress_bar=True, default_root_dir=tmp_path)
    assert re.search(r"Explaining:.* [1-9]\d?/20 \[.*img/s\]", capfd.readouterr().err)


@pytest.mark.parametrize("make", [RichProgressBar, TQDMProgressBar])
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_progress_bars_outside_a_fit(tmp_path, monkeypatch, stage, make):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    trainer = trainer_of(slow(), make(), enable_progress_bar=True, default_root_dir=tmp_path)
    found = getattr(trainer, stage)(Module(), Squares().loader(), verbose=False)
    assert "xai/avg_sensitivity" in found[0]
    rich.reconfigure()


def test_a_disabled_bar_shows_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    for bar in (RichProgressBar(refresh_rate=0), TQDMProgressBar(refresh_rate=0)):
        fit(slow(), bar, enable_progress_bar=True, default_root_dir=tmp_path)
    assert "Explaining" not in "".join(capfd.readouterr())


def test_an_error_takes_the_rich_line_away(tmp_path, screen, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)

    class Failing(Asking):
        def explain(self, classifier, images, target):
            heatmaps = super().explain(classifier, images, target)
            if len(images) > 1:
                raise RuntimeError("no map today")
            return heatmaps

    _, bar = screen
    watched = monitor(Failing(0.0), [AvgSensitivity(num_samples=1)], reports=NO_PICTURES)
    with pytest.warns(UserWarning, match="ExplanationMonitor logs nothing for epoch 0.*no map today"):
        trainer = fit(watched, bar, enable_progress_bar=True, default_root_dir=tmp_path)
    tasks = trainer.progress_bar_callback.progress.tasks
    assert [task.visible for task in tasks if task.description == "Explaining"] == [False]


def test_one_value_per_key_reaches_the_loggers_although_monitors_see_stand_ins(tmp_path):
    """The stand-ins at a validation's start are for monitors only."""
    watched = monitor(metrics="heatmap_drift", every_n_epochs=2)
    trainer = fit(watched, logger=CSVLogger(tmp_path), max_epochs=3)
    rows = read(tmp_path / "lightning_logs/version_0/metrics.csv")
    assert [row["step"] for row in rows if row["xai/heatmap_drift"]] == ["3"]  # not in the first, nor in a gap
    assert trainer.callback_metrics["xai/heatmap_drift"].item() == pytest.approx(
        watched.history[1]["xai/heatmap_drift"]
    )
