import csv

import pytest


def test_the_run_stops_when_faithfulness_no_longer_grows(example, tmp_path):
    unreachable = ("--min-delta", "10", "--patience", "1")
    printed = example("early_stopping", "--epochs", "5", "--num-images", "32", *unreachable)
    folder = tmp_path / "early_stopping" / "version_0"
    with (folder / "xai_history.csv").open(newline="") as file:
        values = [float(row["xai/faithfulness"]) for row in csv.DictReader(file)]
    assert len(values) == 2
    assert "stopped  by EarlyStopping after epoch 1" in printed
    best = values.index(max(values))
    assert f"best     epoch {best}, faithfulness {max(values):.3f}" in printed
    (kept,) = (folder / "checkpoints").iterdir()
    assert kept.name == f"epoch={best}-faithfulness={max(values):.3f}.ckpt"
    assert str(kept) in printed


def test_a_run_may_end_before(example):
    assert "stopped  at --epochs" in example("early_stopping", "--epochs", "1", "--num-images", "32")


def test_patience_is_checked(example):
    with pytest.raises(SystemExit):
        example("early_stopping", "--patience", "three")
