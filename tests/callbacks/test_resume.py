"""A resumed run goes on as if nothing had happened; other stages and later fits do not disturb it."""

import warnings
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_xai.metrics import HeatmapDrift
from tests.callbacks._runs import Attendance, Constant, Images, Moody, Net, differing, loader, monitor, train

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Saves(L.Callback):
    """Saves a checkpoint in one hook of epoch 1 (in its last validation)."""

    def __init__(self, hook):
        setattr(self, hook, self.save)

    def save(self, trainer, *args):
        if not trainer.sanity_checking and trainer.current_epoch == 1:
            trainer.save_checkpoint("saved.ckpt", weights_only=False)


class LosesPower(Net):
    """Is interrupted in the second batch of epoch 1's validation, after it saved what there was."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if self.current_epoch == 1 and batch_idx == 1:
            self.trainer.save_checkpoint("saved.ckpt", weights_only=False)
            raise RuntimeError("out of power")


def interrupted(*callbacks, explainers="grad_cam", num_images=4, every_n_steps=None, **settings):
    """Train two epochs of what would be more, and return the monitor and the newest checkpoint."""
    ours = monitor(explainers, num_images=num_images, every_n_steps=every_n_steps)
    train([ours, *callbacks], **{"train_loader": loader(), **settings})
    found = sorted(Path().rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    return ours, str(found[-1])


def comparable(rows):
    return [{k: v for k, v in row.items() if k != "xai/seconds"} for row in rows]


def identities(ours):
    return [probe.identities for probe in ours._runs["fit"].probes.values()]


HOOKS = ("on_validation_epoch_end", "on_validation_end", "on_train_epoch_end")


@pytest.mark.parametrize("interval", [1.0, 0.5])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_resumed_run_has_the_history_of_an_uninterrupted_one(hook, interval):
    each = None if interval == 1.0 else 1  # the first validation after a resume is explained anyway
    whole = monitor(every_n_steps=each)
    expected = train([whole], train_loader=loader(), max_epochs=4, val_check_interval=interval)
    _, path = interrupted(Saves(hook), every_n_steps=each, val_check_interval=interval)
    again, attendance = monitor(every_n_steps=each), Attendance()
    run = train([again, attendance], train_loader=loader(), max_epochs=4, val_check_interval=interval, ckpt_path=path)
    assert comparable(again.history) == comparable(whole.history)
    assert identities(again) == identities(whole)
    assert all("xai/heatmap_drift" in row for row in again.history[1:])
    assert attendance.seen[0][0] == 2
    assert differing(run.state(), expected.state()) == []


@pytest.mark.parametrize("n", [2, 3])
def test_gaps_after_a_resume(n):
    _, path = interrupted(Saves("on_validation_end"))
    again = monitor(every_n_epochs=n)
    train([again], train_loader=loader(), max_epochs=7, ckpt_path=path)
    assert [row["epoch"] for row in again.history] == {2: [0, 1, 2, 3, 5], 3: [0, 1, 2, 5]}[n]


def test_a_validation_that_is_run_again_replaces_its_row():
    class Restores(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            row = {"epoch": 0, "step": 3, "xai/faithfulness": 9.0}
            ours.load_state_dict({"version": 1, "history": [row], "something": "unknown"})

    ours = monitor()
    train([Restores(), ours])
    assert [(row["epoch"], row["step"]) for row in ours.history] == [(0, 3), (1, 7)]
    assert abs(ours.history[0]["xai/faithfulness"]) <= 1.0


def test_a_run_that_is_resumed_in_the_middle_of_an_epoch():
    saving = ModelCheckpoint(every_n_train_steps=3, save_top_k=-1)
    _, path = interrupted(saving)
    again = monitor()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")
        train([again], train_loader=loader(), max_epochs=4, ckpt_path=path)
    assert [row["epoch"] for row in again.history] == [0, 1, 2, 3]
    assert all("xai/heatmap_drift" in row for row in again.history[1:])


def test_a_run_that_is_resumed_in_the_middle_of_a_validation():
    with pytest.raises(RuntimeError, match="out of power"):
        interrupted(make=LosesPower)
    again, attendance = monitor(), Attendance()
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=99)
    run = train([stopping, again, attendance], train_loader=loader(), max_epochs=4, ckpt_path="saved.ckpt")
    assert run.trainer.current_epoch == 4
    assert [epoch for epoch, _ in attendance.seen] == [1, 2, 3]
    assert [row["epoch"] for row in again.history] == [0, 2, 3]
    assert "xai/heatmap_drift" in again.history[1]
    assert attendance.seen[0][1]["xai/faithfulness"] == pytest.approx(again.history[0]["xai/faithfulness"])


def test_a_checkpoint_holds_plain_values_and_loads_safely():
    ours, path = interrupted(ModelCheckpoint(monitor="xai/faithfulness", mode="max"))
    saved = torch.load(path, weights_only=True)["callbacks"][ours.state_key]
    assert [epoch["epoch"] for epoch in saved["epochs"]][-1] <= 1
    again = monitor()
    train([again], train_loader=loader(), max_epochs=4, ckpt_path=path, inference_mode=True)
    assert [row["epoch"] for row in again.history] == [0, 1, 2, 3]


def assert_plain(value):
    if type(value) is dict:
        assert all(type(key) is str for key in value)
        for part in value.values():
            assert_plain(part)
    elif type(value) is list:
        for part in value:
            assert_plain(part)
    elif type(value) is torch.Tensor:
        assert value.device.type == "cpu"
        assert not value.requires_grad
        assert value.untyped_storage().nbytes() == value.nbytes
    else:
        assert value is None or type(value) in {bool, int, float, str}
        assert type(value) is not int or abs(value) < 2**63


def test_the_state_is_small_and_plain(tmp_path):
    class Large(Images):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image.repeat(1, 28, 28), label

    ours = monitor(Constant(), [HeatmapDrift()], num_images=32)
    train([ours], Net, val_loader=torch.utils.data.DataLoader(Large(32), 16), max_epochs=2, limit_train_batches=1)
    for epoch in range(2, 100):
        ours._runs["fit"].remember(replace(ours.latest, epoch=epoch, step=epoch))
    state = ours.state_dict()
    assert state["probes"]["0"]["previous"]["constant"].shape == (32, 56, 56)
    assert len(state["epochs"]) == 100
    assert_plain(state)
    torch.save(state, tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 2e6


def test_other_data_on_resume_make_a_new_probe_with_one_warning():
    before, path = interrupted(Saves("on_validation_end"))
    again, attendance = monitor(), Attendance()
    with pytest.warns(UserWarning, match="did not find the images of the restored probe") as caught:
        train([again, attendance], train_loader=loader(), max_epochs=5, ckpt_path=path, val_loader=loader(10, seed=5))
    assert sum("restored probe" in str(w.message) for w in caught) == 1
    assert identities(again) != identities(before)
    assert [row["epoch"] for row in again.history] == [0, 1, 2, 3, 4]
    assert ["xai/heatmap_drift" in row for row in again.history] == [False, True, False, True, True]
    assert attendance.seen[0][1]["xai/heatmap_drift"] == pytest.approx(before.history[1]["xai/heatmap_drift"])


@pytest.mark.parametrize("num_images", [2, 6, 32])
def test_another_number_of_images_on_resume_rules_and_is_said_once(num_images):
    before, path = interrupted(Saves("on_validation_end"))
    again = monitor(num_images=num_images)
    with pytest.warns(UserWarning, match=f"num_images={num_images} but the checkpoint's run had 4") as caught:
        train([again], train_loader=loader(), max_epochs=4, ckpt_path=path)
    assert sum("ExplanationMonitor" in str(w.message) for w in caught) == 1
    (probe,), (earlier,) = identities(again), identities(before)
    assert len(probe) == min(num_images, 10)
    assert probe[:4] == earlier[: len(probe)]
    assert [row["epoch"] for row in again.history] == [0, 1, 2, 3]
    assert [len(epoch.loaders[0]) for epoch in again.history] == [4, 4, len(probe), len(probe)]
    assert ["xai/heatmap_drift" in row for row in again.history] == [False, True, False, True]
    assert again._runs["fit"].probes[0].value_range == before._runs["fit"].probes[0].value_range


def test_more_images_than_there_are_is_no_other_number():
    _, path = interrupted(Saves("on_validation_end"), num_images=32)
    again = monitor(num_images=32)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="ExplanationMonitor")
        train([again], train_loader=loader(), max_epochs=3, ckpt_path=path)
    assert "xai/heatmap_drift" in again.history[2]


@pytest.mark.parametrize("num_images", [2, 4, 8])
def test_an_older_checkpoint_does_not_say_the_number(num_images):
    ours = monitor()
    train([ours])
    state = ours.state_dict()
    del state["probes"]["0"]["num_images"], state["probes"]["0"]["value_range"]
    again = monitor(num_images=num_images)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again.load_state_dict(state)
    assert len(caught) == (num_images == 2)  # of 8 there may not have been more
    assert len(again._runs["fit"].wanted(0)) == (0 if num_images == 2 else 4)


def test_another_explainer_on_resume_starts_its_drift_anew():
    _, path = interrupted(Saves("on_validation_end"))
    again = monitor("layer_cam")
    train([again], train_loader=loader(), max_epochs=4, ckpt_path=path)
    assert ["xai/heatmap_drift" in row for row in again.history] == [False, True, False, True]


@pytest.mark.parametrize("first", [True, False], ids=["monitor_first", "monitors_first"])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("mood", ["", "raises"])
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_monitors_find_their_keys_after_a_resume(mood, hook, first, tmp_path):
    _, path = interrupted(Saves(hook))
    again, attendance = monitor(Moody(lambda epoch: mood)), Attendance()
    watchers = [
        EarlyStopping("xai/faithfulness", mode="max", patience=99, check_on_train_epoch_end=True),
        EarlyStopping("xai/heatmap_drift", patience=99),
        ModelCheckpoint(tmp_path / "best", monitor="xai/heatmap_drift", save_top_k=-1, save_last=True),
    ]
    callbacks = [again, *watchers] if first else [*watchers, again]
    run = train([*callbacks, attendance], train_loader=loader(), max_epochs=4, ckpt_path=path)
    assert run.trainer.current_epoch == 4
    assert all(set(values) == set(attendance.seen[0][1]) for _, values in attendance.seen)
    assert [row["epoch"] for row in again.history] == ([0, 1] if mood else [0, 1, 2, 3])


@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_keys_that_never_had_a_value_exist_after_a_resume():
    _, path = interrupted(Saves("on_validation_end"), explainers=Moody(lambda epoch: "raises"))
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=99)
    run = train([monitor(), stopping], train_loader=loader(), max_epochs=3, ckpt_path=path)
    assert run.trainer.current_epoch == 3
    assert stopping.best_score > -1.0


def test_lightning_itself_loses_the_keys_of_others_there():
    _, path = interrupted(Saves("on_validation_end"))
    with pytest.raises(RuntimeError, match="Early stopping conditioned on metric `val_loss` which is not available"):
        train([EarlyStopping("val_loss")], train_loader=loader(), max_epochs=4, ckpt_path=path)


def test_a_new_fit_starts_afresh():
    ours = monitor()
    train([ours], max_epochs=3)
    first = identities(ours)
    attendance = Attendance()
    train([ours, attendance], max_epochs=1, val_loader=loader(10, seed=3))
    assert [row["epoch"] for row in ours.history] == [0]
    assert "xai/heatmap_drift" not in ours.history[0]
    assert attendance.seen[0][1]["xai/heatmap_drift"] == 2.0
    assert identities(ours) != first


class TestOtherStages:
    """`validate` and `test`, with and without a checkpoint, have probes and files of their own."""

    def test_the_fits_history_is_left_alone(self):
        ours = monitor(metrics=[HeatmapDrift()])
        run = train([ours], train_loader=loader())
        rows, probe = ours.history, identities(ours)
        state = ours.state_dict()
        run.trainer.save_checkpoint("end.ckpt", weights_only=False)
        other = loader(6, seed=9)
        for ckpt_path in (None, "end.ckpt"):
            (values,) = run.trainer.validate(run.module, other, ckpt_path=ckpt_path, verbose=False)
            assert values["xai/probe_confidence"] != rows[1]["xai/probe_confidence"]
            run.trainer.test(run.module, other, ckpt_path=ckpt_path, verbose=False)
        assert ours.history[:2] == rows
        assert [(one.stage, one.checkpoint) for one in ours.history[2:]] == [
            (stage, path) for stage in ("validate", "test") for path in (None, "end.ckpt")
        ]
        assert identities(ours) == probe
        assert ours.state_dict().keys() == state.keys()
        assert len(ours.state_dict()["epochs"]) == 2
        assert {path.name for path in Path().glob("*.csv")} == {
            f"xai_{kind}{stage}.csv" for kind in ("history", "images") for stage in ("", "_validate", "_test")
        }

    def test_their_values_are_those_of_the_fit_on_equal_weights_and_images(self):
        ours = monitor()
        run = train([ours], max_epochs=1)
        (values,) = run.trainer.validate(run.module, loader(10, seed=1), verbose=False)
        expected = {k: v for k, v in ours.history[0].items() if k in values and k != "xai/seconds"}
        assert {k: values[k] for k in expected} == pytest.approx(expected, abs=1e-6)
        assert "xai/faithfulness" in expected

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_an_error_does_not_end_them(self):
        trainer = train([monitor(Moody(lambda epoch: "raises"))], max_epochs=1).trainer
        (values,) = trainer.validate(Net(), loader(6), verbose=False)
        assert "val_loss" in values
        assert not any(key.startswith("xai/") for key in values)
