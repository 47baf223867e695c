from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from lightning_xai.metrics import HAAS, Sparseness
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.plan import Plan
from lightning_xai.reports import History
from lightning_xai.reports.report import Run

NAN = math.nan


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def epoch_of(number, estimates, loaders=None, stage="fit"):
    return ExplainedEpoch(number, 10 * number, stage, estimates, loaders or {})


def run_of(folder, *epochs, prefix="xai"):
    return Run(None, folder, Keys(Plan("grad_cam", []), prefix, 2), epochs, {}, {})


def known():
    """Two images, two metrics of one explainer, one of them with two numbers per image, and the control."""
    return Explained(
        keys=torch.tensor([2**61 + 1, 7]),
        labels=torch.tensor([0, -1]),
        target=torch.tensor([0, 1]),
        predicted=torch.tensor([1, 1]),
        probabilities=torch.rand(2, 2),
        rows={"grad_cam": {"sparseness": torch.tensor([0.5, NAN]), "haas": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}},
        control_rows={"sparseness": torch.tensor([0.25, 0.125])},
        metrics={"sparseness": Sparseness(), "haas": HAAS()},
    )


def test_an_epoch_is_a_row_of_what_is_defined():
    epoch = epoch_of(
        1, {"a": Estimate(0.5, 0.25), "b": Estimate(NAN), "c": Estimate(2.0), "d": Estimate(math.inf, 1.0)}
    )
    assert dict(epoch) == {"epoch": 1, "step": 10, "a": 0.5, "c": 2.0, "a_se": 0.25, "d_se": 1.0}
    assert epoch == epoch_of(1, {"a": Estimate(0.5, 0.25), "c": Estimate(2.0), "d": Estimate(NAN, 1.0)})
    assert "b" not in epoch
    with pytest.raises(KeyError, match="b"):
        _ = epoch["b"]


def test_the_file_has_a_column_per_key_and_gaps_are_empty(tmp_path):
    first, second = epoch_of(0, {"a": Estimate(0.5)}), epoch_of(1, {"a": Estimate(0.25), "b": Estimate(1e-7)})
    History().publish(first, run_of(tmp_path / "deep", first))
    History().publish(second, run_of(tmp_path / "deep", first, second))
    path = tmp_path / "deep" / "xai_history.csv"
    assert path.read_text().splitlines()[0] == "epoch,step,a,b"
    assert read(path) == [
        {"epoch": "0", "step": "0", "a": "0.5", "b": ""},
        {"epoch": "1", "step": "10", "a": "0.25", "b": "1e-07"},
    ]
    assert sorted(file.name for file in path.parent.iterdir()) == ["xai_history.csv", "xai_images.csv"]


def test_a_row_per_image_explainer_and_metric(tmp_path):
    epoch = epoch_of(3, {}, {0: known()})
    History().publish(epoch, run_of(tmp_path, epoch.numbers_only()))
    rows = read(tmp_path / "xai_images.csv")
    assert {(row["epoch"], row["step"], row["loader"]) for row in rows} == {("3", "30", "0")}
    about = {(row["image"], row["label"], row["target"], row["predicted"]) for row in rows}
    assert about == {(str(2**61 + 1), "0", "0", "1"), ("7", "-1", "1", "1")}
    assert {(row["explainer"], row["metric"], row["image"]): row["value"] for row in rows} == {
        ("grad_cam", "sparseness", str(2**61 + 1)): "0.5",
        ("grad_cam", "sparseness", "7"): "",
        ("grad_cam", "haas", str(2**61 + 1)): "-1.0",  # correct before, wrong after
        ("grad_cam", "haas", "7"): "1.0",
        ("control", "sparseness", str(2**61 + 1)): "0.25",
        ("control", "sparseness", "7"): "0.125",
    }


def test_ids_stand_beside_the_keys_where_they_are_known(tmp_path):
    from dataclasses import replace

    named = replace(known(), ids=["a,b.png", "7"])
    epochs = [epoch_of(0, {}, {0: known()}), epoch_of(1, {}, {0: named})]
    History().publish(epochs[1], run_of(tmp_path, *(epoch.numbers_only() for epoch in epochs)))
    found = {(row["epoch"], row["image"]): row["id"] for row in read(tmp_path / "xai_images.csv")}
    first, second = str(2**61 + 1), "7"
    assert found == {("0", first): "", ("0", second): "", ("1", first): "a,b.png", ("1", second): "7"}


def test_without_rows_of_images(tmp_path):
    epoch = epoch_of(0, {"a": Estimate(1.0)}, {0: known()}, stage="validate")
    History(images=False).publish(epoch, run_of(tmp_path, epoch, prefix="val/xai"))
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.csv")] == ["val/xai_history_validate.csv"]


def test_a_folder_that_is_not_on_this_machine():
    import fsspec

    epoch = epoch_of(2, {"a": Estimate(0.5)}, {0: known()})
    History().publish(epoch, run_of("memory://runs/history", epoch))
    files = fsspec.filesystem("memory")
    assert sorted(Path(name).name for name in files.ls("/runs/history", detail=False)) == [
        "xai_history.csv",
        "xai_images.csv",
    ]
    assert files.cat("/runs/history/xai_history.csv").decode().splitlines() == ["epoch,step,a", "2,20,0.5"]
