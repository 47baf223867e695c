from __future__ import annotations

import csv
import warnings
from datetime import timedelta
from itertools import islice, repeat
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from lightning_xai import ExplanationMonitor
from lightning_xai.callbacks.run.schedule import is_due
from lightning_xai.reports import Grid, History, Scalars
from tests.callbacks._runs import Attendance, differing, in_epochs, loader, monitor, train


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def explained(every_n_epochs, validations, start=None):
    """Epochs that are explained of those in which a fit validates; it may resume after epoch ``start``."""
    last, first, found = start, True, []
    validations = list(validations)
    for place, epoch in enumerate(validations):
        if is_due(epoch, every_n_epochs, last, first=first, last_in_epoch=epoch not in validations[place + 1 :]):
            found.append(epoch)
            last = epoch
        first = False
    return found


@pytest.mark.parametrize(
    ("every_n_epochs", "validations", "expected"),
    [
        (1, range(4), [0, 1, 2, 3]),
        (3, range(9), [0, 2, 5, 8]),  # the first validation, then with ModelCheckpoint(every_n_epochs=3)
        (2, [1, 3, 5, 7], [1, 3, 5, 7]),  # check_val_every_n_epoch=2
        (2, [2, 5, 8, 11], [2, 5, 8, 11]),  # =3: multiples of 2 alone would leave every second one out
        (4, [2, 5, 8, 11], [2, 8, 11]),
        (5, [1, 3, 5, 7, 9, 11, 13], [1, 7, 9]),
        (1, [0, 0, 1, 1], [0, 0, 1]),  # val_check_interval=0.5: the first of all, then the last of each epoch
        (2, [0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 3]),
    ],
)
def test_epochs_that_are_explained(every_n_epochs, validations, expected):
    assert explained(every_n_epochs, validations) == expected


def test_a_resumed_fit_explains_its_first_validation():
    assert explained(4, [5, 6, 7, 8], start=4) == [5, 7]


class Stream(IterableDataset):
    """So many images, a number that nobody says; without end if None."""

    def __init__(self, count):
        self._count = count

    def __iter__(self):
        images = loader().dataset
        pair = [images[0], images[1]]
        return islice((one for two in repeat(pair) for one in two), self._count)


def stream(count):
    return DataLoader(Stream(count), 4)


class TestSeveralValidationsInAnEpoch:
    """Epochs of four batches: steps 4, 8 … (in the history, as loggers count: 3, 7 …) end one."""

    @pytest.mark.parametrize(
        ("settings", "n", "steps"),
        [
            ({"val_check_interval": 0.25}, 1, [0, 3, 7, 11]),
            ({"val_check_interval": 2}, 1, [1, 3, 7, 11]),
            ({"val_check_interval": 3}, 1, [2, 6, 10]),  # one validation, before the end of the epoch
            ({"val_check_interval": 0.5}, 2, [1, 7]),
            ({"val_check_interval": 0.5, "check_val_every_n_epoch": 2}, 1, [5, 7]),
            ({"val_check_interval": 3, "check_val_every_n_epoch": None}, 1, [2, 5, 11]),  # of 2 5 8 11 in 0 1 2 2
            ({"val_check_interval": 5, "check_val_every_n_epoch": None}, 1, [4, 9]),
            ({"val_check_interval": 0.5, "accumulate_grad_batches": 2}, 1, [0, 1, 3, 5]),
            ({"val_check_interval": 0.5, "limit_train_batches": 2}, 1, [0, 1, 3, 5]),
            ({"val_check_interval": 0.5, "num_sanity_val_steps": 0}, 1, [1, 3, 7, 11]),
            ({"val_check_interval": timedelta(0)}, 1, list(range(12))),  # nobody knows which is the last
        ],
    )
    def test_the_last_one_is_explained(self, settings, n, steps):
        ours = monitor(every_n_epochs=n)
        train([ours], max_epochs=3, **settings)
        assert [row["step"] for row in ours.history] == steps

    @pytest.mark.parametrize("count", [8, None])
    def test_an_epoch_of_unknown_length_has_no_last_one(self, count):
        ours = monitor()
        train([ours], train_loader=stream(count), max_steps=6, max_epochs=-1, val_check_interval=1)
        assert [row["step"] for row in ours.history] == [0, 1, 2, 3, 4, 5]

    def test_what_is_left_out_is_said(self, caplog):
        stop = EarlyStopping("xai/faithfulness", mode="max", patience=9)
        with pytest.warns(UserWarning, match="set patience=36 for 9 explained epochs"), caplog.at_level("INFO"):
            train([monitor(), stop], val_check_interval=0.25)
        assert "explains one of 4 validations of an epoch, the last; every_n_steps= explains more" in caplog.text

    def test_nothing_is_said_of_one_validation_in_an_epoch(self, caplog):
        with warnings.catch_warnings(), caplog.at_level("INFO"):
            warnings.filterwarnings("error", message=".*patience")
            train([monitor(), EarlyStopping("xai/faithfulness", mode="max", patience=9)])
        assert "validations of an epoch" not in caplog.text

    def test_gaps_keep_the_last_value(self):
        attendance = Attendance()
        ours = monitor(in_epochs(""))
        train([ours, attendance], max_epochs=2, val_check_interval=0.25)
        seen = [values["xai/faithfulness"] for _, values in attendance.seen]
        first, second, third = (row["xai/faithfulness"] for row in ours.history)
        assert seen == pytest.approx([first] * 3 + [second] * 4 + [third], abs=1e-6)
        assert len({first, second, third}) == 3


class TestEveryNSteps:
    @pytest.mark.parametrize(
        ("n", "settings", "steps"),
        [
            (1, {}, [3, 7, 11]),
            (5, {}, [3, 11]),
            (100, {}, [3]),
            (3, {"val_check_interval": 0.25}, [0, 3, 6, 9]),
            (3, {"val_check_interval": 2}, [1, 5, 9]),
            (6, {"val_check_interval": 5, "check_val_every_n_epoch": None}, [4]),
            (1, {"val_check_interval": 0.25, "accumulate_grad_batches": 2}, [-1, 0, 1, 2, 3, 4, 5]),
            (4, {"val_check_interval": 0.25, "num_sanity_val_steps": 0}, [0, 4, 8]),
        ],
    )
    def test_so_many_steps_lie_between_two(self, n, settings, steps):
        ours = monitor(every_n_steps=n)
        train([ours], max_epochs=3, **settings)
        assert [row["step"] for row in ours.history] == [step for step in steps if step >= 0]

    def test_a_stream_without_end(self):
        ours = monitor(every_n_steps=3)
        train([ours], train_loader=stream(None), max_steps=9, max_epochs=-1, val_check_interval=2)
        assert [row["step"] for row in ours.history] == [1, 5]

    @pytest.mark.filterwarnings(
        "ignore:Be aware that when using `ckpt_path`", "ignore:Checkpoint directory", "ignore:You're"
    )
    @pytest.mark.parametrize("saved_after", [2, 3, 6])
    def test_a_resumed_run_keeps_the_rhythm(self, saved_after):
        settings = {"max_epochs": 3, "val_check_interval": 1}
        whole = monitor(every_n_steps=4)
        train([whole], **settings)
        saving = ModelCheckpoint(".", filename="{step}", every_n_train_steps=saved_after, save_top_k=1)
        train([monitor(every_n_steps=4), saving], **{**settings, "max_epochs": -1, "max_steps": saved_after})
        again = monitor(every_n_steps=4)
        train([again], ckpt_path=f"step={saved_after}.ckpt", **settings)
        steps = [row["step"] for row in again.history]
        assert [step for step in steps if step % 4 == 0] == [row["step"] for row in whole.history] == [0, 4, 8]
        assert len(steps) <= 4  # the first validation after a resume, out of step

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_what_fails_is_tried_again_in_the_next_validation(self):
        ours = monitor(in_epochs("raises", 1), every_n_steps=8)
        train([ours], max_epochs=5)
        assert [row["epoch"] for row in ours.history] == [0, 2, 4]

    def test_patience_counts_validations(self):
        stop = EarlyStopping("xai/faithfulness", mode="max", patience=3)
        with pytest.warns(UserWarning, match="set patience=12 for 3 explained validations"):
            train([monitor(every_n_steps=8), stop], val_check_interval=2)

    @pytest.mark.parametrize(
        ("settings", "kind", "text"),
        [
            ({"every_n_steps": 0}, ValueError, "Expected `every_n_steps` to be >= 1, but got 0"),
            ({"every_n_steps": 0.5}, TypeError, "Expected `every_n_steps` to be a whole number, but got float"),
            (
                {"every_n_steps": 5, "every_n_epochs": 2},
                ValueError,
                "Expected `every_n_epochs` or `every_n_steps`.*every_n_epochs=2 and every_n_steps=5",
            ),
        ],
    )
    def test_settings(self, settings, kind, text):
        with pytest.raises(kind, match=text):
            ExplanationMonitor(**settings)


def test_several_explanations_of_an_epoch_overwrite_nothing(tmp_path):
    ours = monitor(every_n_steps=1, reports=[Scalars(), History(), Grid(num_images=1, cell_size=32)])
    train([ours], max_epochs=2, val_check_interval=0.5, default_root_dir=tmp_path)
    (history,) = tmp_path.rglob("xai_history.csv")
    with history.open() as file:
        moments = [(row["epoch"], row["step"]) for row in csv.DictReader(file)]
    assert moments == [("0", "1"), ("0", "3"), ("1", "5"), ("1", "7")]
    with Path(history.with_name("xai_images.csv")).open() as file:
        rows = [(row["step"], row["image"], row["metric"], row["explainer"]) for row in csv.DictReader(file)]
    assert len(set(rows)) == len(rows)
    assert {step for step, *_ in rows} == {"1", "3", "5", "7"}
    assert len(list(tmp_path.rglob("*.png"))) == 4


def test_weights_are_what_they_are_without_us():
    settings = {"max_epochs": 2, "val_check_interval": 0.25}
    torch.manual_seed(0)
    expected = train([], **settings).state()
    assert differing(train([monitor(every_n_steps=2)], **settings).state(), expected) == []
