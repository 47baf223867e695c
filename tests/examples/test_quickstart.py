import csv
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

KEYS = {
    "val_accuracy",
    "xai/faithfulness",
    "xai/faithfulness_gain",
    "xai/faithfulness_relative",
    "xai/undefined/faithfulness_skill",  # the skill itself needs a model that has learnt something
    "xai/control/faithfulness",
    "xai/insertion_auc",
    "xai/deletion_auc",
    "xai/max_sensitivity",
    "xai/pointing_game",
    "xai/relevance_mass_accuracy",
    "xai/relevance_rank_accuracy",
    "xai/probe_accuracy",
    "xai/seconds",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the script was called, after two short epochs."""
    folder = tmp_path_factory.mktemp("quickstart")
    script = Path(__file__).parents[2] / "examples" / "quickstart.py"
    command = [sys.executable, str(script), "--epochs", "2", "--num-images", "32"]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


@pytest.fixture
def run(folder):
    return folder / "runs" / "quickstart" / "version_0"


def test_curves_and_pictures_of_every_epoch(run, events):
    found = events(run)
    assert set(found.Tags()["scalars"]) >= KEYS
    steps = [event.step for event in found.Scalars("val_accuracy")]
    assert steps == [0, 1]
    for key in KEYS:
        assert [event.step for event in found.Scalars(key)] == steps, key
    pictures = found.Images("xai/heatmaps")
    assert [picture.step for picture in pictures] == steps
    first, second = (np.asarray(Image.open(BytesIO(picture.encoded_image_string))) for picture in pictures)
    assert min(first.shape[:2]) > 300
    assert first.tobytes() != second.tobytes()


def test_the_report_of_the_run(run, folder):
    text = (run / "xai_report.html").read_text(encoding="utf-8")
    assert "What to read first" in text
    assert "circle" in text  # the data set's own names
    assert f"report    {(run / 'xai_report.html').relative_to(folder)}" in (folder / "stdout.txt").read_text()


def test_files_beside_them(run, events):
    grids = sorted((run / "heatmaps").iterdir())
    assert [grid.name for grid in grids] == ["epoch=00.png", "epoch=01.png"]
    pictures = events(run).Images("xai/heatmaps")
    assert [grid.read_bytes() for grid in grids] == [picture.encoded_image_string for picture in pictures]
    with (run / "xai_history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [0, 1]
    logged = [event.value for event in events(run).Scalars("xai/faithfulness")]
    assert [float(row["xai/faithfulness"]) for row in rows] == pytest.approx(logged)
    assert all(float(row["xai/faithfulness_se"]) > 0 for row in rows)


def test_the_table_and_where_to_look(folder):
    printed = (folder / "stdout.txt").read_text()
    assert printed.startswith("Grad-CAM on 32 validation images")
    table, _, paths = printed.partition("curves")
    assert "gain over" in table
    assert "…" not in table, "a column was cut"
    rows = [line.split() for line in table.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["0", "1"]
    assert "tensorboard --logdir runs/quickstart/version_0" in paths
    assert "runs/quickstart/version_0/xai_history.csv" in paths


def test_it_says_nothing_else_and_leaves_nothing_else(folder):
    assert (folder / "stderr.txt").read_text() == ""
    assert {path.name for path in folder.iterdir()} == {"runs", "stdout.txt", "stderr.txt"}
