from __future__ import annotations

import csv
import math

from lightning_xai.callbacks.history import History


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_ordered_and_hold_what_is_defined():
    history = History()
    history.put(1, 20, {"xai/faithfulness": 0.5, "xai/heatmap_drift": 0.25})
    history.put(0, 10, {"xai/faithfulness": 0.125, "xai/heatmap_drift": math.nan, "xai/seconds": math.inf})
    assert history.rows == [
        {"epoch": 0, "step": 10, "xai/faithfulness": 0.125},
        {"epoch": 1, "step": 20, "xai/faithfulness": 0.5, "xai/heatmap_drift": 0.25},
    ]


def test_a_repeated_validation_replaces_its_row():
    history = History()
    history.put(0, 10, {"a": 1.0, "b": 1.0})
    history.put(0, 20, {"a": 2.0})  # a second validation in the epoch
    history.put(0, 10, {"a": 3.0})
    assert history.rows == [{"epoch": 0, "step": 10, "a": 3.0}, {"epoch": 0, "step": 20, "a": 2.0}]


def test_rows_are_copies_and_make_an_equal_history():
    history = History()
    history.put(2, 5, {"a": 1.0})
    history.rows[0]["a"] = 9.0
    assert history.rows[0]["a"] == 1.0
    assert History(history.rows).rows == history.rows


def test_the_file_has_a_column_per_key_and_gaps_are_empty(tmp_path):
    path, history = tmp_path / "deep" / "xai_history.csv", History()
    history.put(0, 10, {"a": 0.5})
    history.write(path)
    history.put(1, 20, {"a": 0.25, "b": 1e-7})
    history.write(path)
    assert path.read_text().splitlines()[0] == "epoch,step,a,b"
    assert read(path) == [
        {"epoch": "0", "step": "10", "a": "0.5", "b": ""},
        {"epoch": "1", "step": "20", "a": "0.25", "b": "1e-07"},
    ]
    assert [file.name for file in path.parent.iterdir()] == ["xai_history.csv"]
