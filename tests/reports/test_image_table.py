"""Tables of images are read back from W&B (offline) and MLflow (sqlite), and joined."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, WandbLogger
from PIL import Image

from lightning_xai.loggers.log_table import LoggedTable, TableLoggingError, log_table
from lightning_xai.reports import ImageTable
from tests.callbacks._runs import loader, monitor, train

KNOWN = ["key", "id", "group", "label", "predicted", "explained", "p explained", "p predicted"]
SCORES = ["deletion_auc", "faithfulness", "heatmap_drift", "insertion_auc"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    for name, value in {"MODE": "offline", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)


def fit(logger, report=None, *, masks=True, **settings):
    ours = monitor(reports=[report or ImageTable()], **settings)
    train([ours], val_loader=loader(10, seed=1, masks=masks), logger=logger)
    return ours


def tables_of_wandb(folder):
    """The tables that a W&B run left, in the order in which they were written."""
    files = sorted(folder.glob("wandb/offline-run-*/files/media/table/xai/*.table.json"), key=lambda one: _number(one))
    return [json.loads(file.read_text()) for file in files]


def _number(file):
    return int(file.name.split("_")[1])


def staged(folder):
    """What waits to be uploaded as W&B's artifacts: the tables with pictures, and pictures by mode."""
    tables, pictures = [], {}
    for file in sorted((folder / "data" / "artifacts" / "staging").iterdir(), key=lambda one: one.stat().st_mtime_ns):
        content = file.read_bytes()
        if content.startswith(b"\x89PNG"):
            with Image.open(file) as read:
                pictures.setdefault(read.mode, []).append(np.array(read))
        elif json.loads(content)["_type"] == "table":
            tables.append(json.loads(content))
    return tables, pictures


def rows_of(table):
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def check(tables, ours):
    """Rows are what the monitor knows of each image, epoch by epoch."""
    assert len(tables) == len(ours.history) == 2
    for table, epoch in zip(tables, ours.history, strict=True):
        found, rows = epoch.loaders[0], rows_of(table)
        assert [int(row["key"]) for row in rows] == found.keys.tolist()
        assert [row["label"] for row in rows] == [str(label) for label in found.labels.tolist()]
        assert [row["predicted"] for row in rows] == [str(one) for one in found.predicted.tolist()]
        for metric in SCORES:
            expected = found.rows["grad_cam"][metric].tolist()
            told = [float("nan") if row[metric] is None else row[metric] for row in rows]
            assert told == pytest.approx(expected, nan_ok=True)


def test_wandb_has_a_table_per_epoch(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    ours = fit(logger)
    logger.experiment.finish()
    tables = tables_of_wandb(tmp_path)
    check(tables, ours)
    assert tables[0]["columns"] == [*KNOWN, "picture", *SCORES]
    whole, pictures = staged(tmp_path)
    picture = rows_of(whole[-1])[0]["picture"]
    assert (picture["_type"], picture["height"], picture["width"]) == ("image-file", 8, 8)
    assert set(picture["masks"]) == {"heat grad_cam", "object"}
    assert {one.shape for one in pictures["RGB"]} == {(8, 8, 3)}
    objects = [one for one in pictures["L"] if one.max() == 1]
    assert objects
    assert {int((one == 1).sum()) for one in objects} == {16}
    assert {int(one.max()) for one in pictures["L"]} <= {0, 1, 4}  # heat reaches its own top, or there is none


def test_mlflow_has_a_table_and_a_file_per_picture(tmp_path):
    pytest.importorskip("mlflow")
    logger = MLFlowLogger("test", save_dir=str(tmp_path / "mlruns"), artifact_location=str(tmp_path / "a"))
    ours = fit(logger)
    client, run = logger.experiment, logger.run_id
    folder = tmp_path / "a" / run / "artifacts" / "xai" / "images"
    files = sorted(folder.glob("*.json"))
    check([json.loads(file.read_text()) for file in files], ours)
    told = json.loads(client.get_run(run).data.tags["mlflow.loggedArtifacts"])
    assert told == [{"path": f"xai/images/{file.name}", "type": "table"} for file in files]
    picture = rows_of(json.loads(files[0].read_text()))[0]["picture"]
    with Image.open(tmp_path / "a" / run / "artifacts" / picture["filepath"]) as read:
        assert read.size == (8, 8)


def test_tables_of_two_runs_are_joined_by_the_images_key(tmp_path):
    both = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        logger = WandbLogger(save_dir=tmp_path / name, project="test", offline=True)
        fit(logger, ImageTable(pictures=False), seed=0 if name == "first" else 7)
        logger.experiment.finish()
        both.append({row["key"]: row for row in rows_of(tables_of_wandb(tmp_path / name)[-1])})
    assert set(both[0]) == set(both[1])
    assert all(both[0][key]["label"] == both[1][key]["label"] for key in both[0])


def test_several_explainers_and_fewer_rows(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    fit(logger, ImageTable(num_images=2, class_names=["left", "right"]), explainers=["grad_cam", "saliency"])
    logger.experiment.finish()
    table = tables_of_wandb(tmp_path)[0]
    assert len(table["data"]) == 2
    explainers = ("grad_cam", "saliency")
    assert table["columns"][len(KNOWN) + 1 :] == [f"{name}/{one}" for name in explainers for one in SCORES]
    assert {row["label"] for row in rows_of(table)} <= {"left", "right"}
    picture = rows_of(staged(tmp_path)[0][0])[0]["picture"]
    assert set(picture["masks"]) == {"heat grad_cam", "heat saliency", "object"}


def test_a_private_run_has_no_pictures(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    fit(logger, private=True)
    logger.experiment.finish()
    table = tables_of_wandb(tmp_path)[0]
    assert table["columns"] == [*KNOWN, *SCORES]
    assert {row["id"] for row in rows_of(table)} == {None}
    assert not list(tmp_path.rglob("*.png"))


def test_where_no_logger_takes_tables_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageTable, "_pictures", lambda *_: pytest.fail("drawn for nobody"))
    fit(CSVLogger(tmp_path))


def test_a_logger_that_fails_is_named_after_all_others_got_the_table(tmp_path, monkeypatch):
    logger = WandbLogger(save_dir=tmp_path, project="test", offline=True)
    failing = WandbLogger(save_dir=tmp_path / "other", project="test", offline=True)
    monkeypatch.setattr(failing, "log_table", lambda *_, **__: 1 / 0)

    class Fake:
        is_global_zero = True
        loggers = (failing, logger)
        current_epoch, global_step = 3, 12

    with pytest.raises(TableLoggingError, match="failed for WandbLogger: ZeroDivisionError"):
        log_table(Fake(), "xai/images", ["a"], [[float("inf")]])
    logger.experiment.finish()
    assert tables_of_wandb(tmp_path)[0]["data"] == [[None]]


def test_rows_and_numbers_are_checked():
    with pytest.raises(ValueError, match=r"`rows` of 2 cells, but got \[1\]"):
        LoggedTable("xai/images", ["a", "b"], [[1]])
    with pytest.raises(ValueError, match="num_images of the table"):
        ImageTable(num_images=0)
    with pytest.raises(ValueError, match="size"):
        ImageTable(size=3)
