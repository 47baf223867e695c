"""The state in checkpoints: what comes back, what version 1 held, and what is refused."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_xai import difference
from lightning_xai.callbacks.run.checkpoint_state import restore, state_of
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.metrics import HAAS, InsertionDeletion, Sparseness
from lightning_xai.probing import Sample
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import Item, Probe
from tests.callbacks._runs import monitor, train

VERSION_1 = {
    "version": 1,
    "probes": {
        "0": {
            "keys": [11, 12],
            "classes": [0, 1],
            "previous": {"grad_cam": torch.rand(2, 4, 4).half()},
            "previous_target": torch.tensor([0, 1]),
        }
    },
    "history": [
        {"epoch": 0, "step": 3, "xai/faithfulness": 0.25, "xai/faithfulness_se": 0.125, "xai/seconds": 2.0},
        {"epoch": 1, "step": 7, "xai/faithfulness": 0.5},
    ],
    "last_values": {"xai/faithfulness": 0.5, "xai/heatmap_drift": 2.0},
    "last_epoch": 1,
}


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    ours = monitor(metrics=metrics())
    train([ours], max_epochs=3, default_root_dir=tmp_path_factory.mktemp("fitted"))
    return ours


def test_ids_come_back_and_private_ones_are_never_kept():
    def named(batch):
        return Sample(batch[0], batch[1], ids=[f"{float(image.mean()):.6f}" for image in batch[0]])

    for private in (False, True):
        ours = monitor(metrics=[Sparseness()], sample_from_batch=named, private=private)
        train([ours], max_epochs=2)
        run = reread(ours.state_dict(), ours.plan)
        for epoch in (*ours.history, *run.epochs):
            probe = ours._runs["fit"].probes[0]
            names = [f"{float(item.image.mean()):.6f}" for item in probe.items]
            assert epoch.loaders[0].ids == (None if private else names)


def metrics():
    return [InsertionDeletion(4), HAAS(), Sparseness()]


def reread(state, plan):
    """Return the run that a new process reads from a checkpoint."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    run = RunState(Effort(8))
    restore(run, torch.load(file, weights_only=True), plan)
    return run


def test_every_number_comes_back(fitted):
    run = reread(fitted.state_dict(), fitted.plan)
    assert run.epochs == fitted.history
    for before, after in zip(fitted.history, run.epochs, strict=True):
        assert (after.stage, after.task, after.evaluations) == (before.stage, before.task, before.evaluations)
        for name in ("faithfulness", "haas", "sparseness", "faithfulness_gain"):
            mine, restored = before.scores(name), after.scores(name)
            assert torch.equal(mine.keys, restored.keys)
            assert torch.equal(mine.target, restored.target)
            torch.testing.assert_close(mine.rows, restored.rows, rtol=0, atol=0, equal_nan=True)
            assert repr(mine.estimate()) == repr(restored.estimate())  # NaN is not itself
    now, then = fitted.latest.scores("faithfulness"), run.epochs[0].scores("faithfulness")
    rows = (now.rows - then.rows).double()
    assert difference(now, then).value == pytest.approx(rows.mean().item(), abs=1e-6)
    assert difference(now, then).error == pytest.approx((rows.var() / len(rows)).sqrt().item(), abs=1e-6)


def test_rows_of_metrics_that_are_asked_for_no_longer_are_left_out(fitted):
    run = reread(fitted.state_dict(), Plan("grad_cam", "sparseness"))
    assert list(run.epochs[0].loaders[0].rows["grad_cam"]) == ["sparseness"]
    assert not run.epochs[0].loaders[0].control_rows
    assert "xai/faithfulness" in run.epochs[0]


def test_version_1_has_values_but_no_rows():
    run = reread(VERSION_1, Plan("grad_cam", None))
    assert [dict(epoch) for epoch in run.epochs] == VERSION_1["history"]
    assert run.epochs[0].estimates["xai/faithfulness"].error == 0.125
    assert math.isnan(run.epochs[1].estimates["xai/faithfulness"].error)
    assert not run.epochs[0].loaders
    assert (run.last_values, run.last_epoch) == (VERSION_1["last_values"], 1)
    assert run.wanted(0) == [(11, 0), (12, 1)]
    assert torch.equal(run.restored[0]["previous"]["grad_cam"], VERSION_1["probes"]["0"]["previous"]["grad_cam"])


def _without(state, *path):
    for name in path[:-1]:
        state = state[name]
    del state[path[-1]]


def _with(state, value, *path):
    for name in path[:-1]:
        state = state[name]
    state[path[-1]] = value


BROKEN = {
    "no epochs": lambda s: _without(s, "epochs"),
    "an epoch without a step": lambda s: _without(s, "epochs", 0, "step"),
    "a text for a number": lambda s: _with(s, "many", "epochs", 0, "evaluations"),
    "fewer rows than images": lambda s: _with(s, torch.zeros(3), "epochs", 0, "loaders", "0", "target"),
    "another dtype": lambda s: _with(s, torch.zeros(4), "epochs", 0, "loaders", "0", "keys"),
    "a list for a tensor": lambda s: _with(s, [1, 2, 3, 4], "epochs", 0, "loaders", "0", "keys"),
    "fewer ids than images": lambda s: _with(s, ["a"], "epochs", 0, "loaders", "0", "ids"),
    "a number for ids": lambda s: _with(s, 3, "epochs", 0, "loaders", "0", "ids"),
    "fewer groups than images": lambda s: _with(s, ["a"], "epochs", 0, "loaders", "0", "groups"),
    "fewer groups than keys": lambda s: _with(s, ["a"], "probes", "0", "groups"),
    "a number for groups": lambda s: _with(s, 3, "probes", "0", "groups"),
    "fewer classes than keys": lambda s: _with(s, [0], "probes", "0", "classes"),
    "a map that expands": lambda s: _with(
        s, {"grad_cam": torch.zeros(1, 1, 1).half().expand(4, 30000, 30000)}, "probes", "0", "previous"
    ),
    "10^9 rows": lambda s: _with(
        s,
        {name: torch.zeros(1).long().expand(10**9) for name in ("keys", "labels", "target", "predicted")}
        | {"rows": {}, "control_rows": {"names": [], "values": torch.zeros(0, 0), "wide": {}}},
        "epochs",
        0,
        "loaders",
        "0",
    ),
    "10^9 keys": lambda s: s["probes"]["0"].update(
        {n: torch.zeros(1).long().expand(10**9) for n in ("keys", "classes")}
    ),
    "10^9 names": lambda s: _with(
        s, torch.zeros(1).expand(10**9), "epochs", 0, "loaders", "0", "rows", "grad_cam", "names"
    ),
    "10^9 epochs": lambda s: _with(s, torch.zeros(1).expand(10**9), "epochs"),
    "a map without height": lambda s: _with(s, {"m": torch.zeros(4, 0, 5).half()}, "probes", "0", "previous"),
    "a map that is too long": lambda s: _with(s, {"m": torch.zeros(4, 57, 1).half()}, "probes", "0", "previous"),
    "a sparse map": lambda s: _with(
        s, {"m": torch.sparse_coo_tensor(size=(4, 2, 2)).half()}, "probes", "0", "previous"
    ),
    "a map of nothing": lambda s: _with(
        s, {"m": torch.zeros(4, 2, 2, dtype=torch.float16, device="meta")}, "probes", "0", "previous"
    ),
    "a negative step": lambda s: _with(s, -3, "epochs", 0, "step"),
    "an infinite epoch": lambda s: _with(s, math.inf, "last_epoch"),
    "a number for a layout": lambda s: _with(s, 1, "channels_last"),
    "a text for a layout": lambda s: _with(s, "fit", "channels_last"),
    "no images per forward": lambda s: _with(s, 0, "most_that_fit"),
    "a text for images per forward": lambda s: _with(s, "many", "grown"),
    "a half epoch": lambda s: _with(s, 1.5, "epochs", 0, "epoch"),
    "a value that is not finite": lambda s: _with(s, math.nan, "last_values", "xai/faithfulness"),
    "a number too large": lambda s: _with(s, 10**400, "epochs", 0, "seconds"),
    "a key too large": lambda s: _with(s, [2**70, 1, 2, 3], "probes", "0", "keys"),
    "one image twice": lambda s: s["probes"]["0"].update(keys=[1, 1, 2, 3], classes=[0, 0, 0, 0]),
    "a range of one end": lambda s: _with(s, [0.0], "probes", "0", "value_range"),
    "a range that is not finite": lambda s: _with(s, [0.0, math.nan], "probes", "0", "value_range"),
    "a range backwards": lambda s: _with(s, [1.0, 0.0], "epochs", 0, "loaders", "0", "value_range"),
    "no list of what is logged": lambda s: _with(s, {"val_acc": 0.5}, "logged"),
    "something logged at no moment": lambda s: _with(s, [[{"val_acc": 0.5}]], "logged"),
    "something logged that is no number": lambda s: _with(s, [[0, 4, {"val_acc": "high"}]], "logged"),
    "something logged before the first epoch": lambda s: _with(s, [[-1, 4, {"val_acc": 0.5}]], "logged"),
    "no images asked for": lambda s: _with(s, 0, "probes", "0", "num_images"),
    "an unknown stage": lambda s: _with(s, "../fit", "epochs", 0, "stage"),
    "a loader without a number": lambda s: _with(s, {}, "probes", "first"),
    "a list of epochs that are none": lambda s: _with(s, [None], "epochs"),
    "a later version": lambda s: (_with(s, 9, "version"), _without(s, "epochs")),
    "wide rows that expand": lambda s: _with(
        s, {"haas": torch.zeros(1, 1).expand(4, 10**8)}, "epochs", 0, "loaders", "0", "rows", "grad_cam", "wide"
    ),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN)
def test_a_malformed_state_changes_nothing_and_is_said_once(fitted, breaks):
    state = copy.deepcopy(fitted.state_dict())
    breaks(state)
    run = RunState(Effort(8))
    with pytest.raises(ValueError, match="Expected a monitor's state as `state_dict` returns it, but got"):
        restore(run, state, fitted.plan)
    assert state_of(run) == state_of(RunState(Effort(8)))
    again = monitor(metrics=metrics())
    with pytest.warns(UserWarning, match="starts afresh, because its state in the checkpoint cannot be read") as caught:
        again.load_state_dict(state)
    assert len(caught) == 1


@pytest.mark.parametrize("state", [None, [], "state", 3, torch.zeros(3), {}, {"version": 1, "history": torch.zeros(9)}])
def test_what_is_no_state_is_said_once(state):
    ours = monitor()
    with pytest.warns(UserWarning, match="starts afresh, because its state in the checkpoint cannot be read") as caught:
        ours.load_state_dict(state)
    assert len(caught) == 1
    assert max(len(str(one.message)) for one in caught) < 500


def test_a_run_after_a_malformed_state_works(tmp_path):
    saving = ModelCheckpoint(tmp_path, save_last=True)
    train([monitor(), saving], max_epochs=1)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=False)
    (state,) = (one for name, one in checkpoint["callbacks"].items() if name.startswith("ExplanationMonitor"))
    state["probes"]["0"]["previous"]["grad_cam"] = torch.zeros(1, 1, 1).half().expand(4, 30000, 30000)
    torch.save(checkpoint, tmp_path / "hostile.ckpt")
    again = monitor()
    with pytest.warns(UserWarning, match="starts afresh") as caught:
        train([again], max_epochs=2, ckpt_path=str(tmp_path / "hostile.ckpt"))
    assert sum("ExplanationMonitor" in str(one.message) for one in caught) == 1
    assert [row["epoch"] for row in again.history] == [1]
    assert "xai/heatmap_drift" not in again.history[0]


class TestValueRange:
    """Noise keeps its unit after a resume, also where the probe is another one."""

    def restored(self, fitted, own):
        run = reread(fitted.state_dict(), fitted.plan)
        item = Item(torch.tensor([[own]]), torch.tensor(0), None, None)
        probe = Probe([(1, 0)], [item])
        return run.accept(0, probe), probe.value_range, fitted._runs["fit"].probes[0].value_range

    def test_it_is_that_of_the_run(self, fitted):
        low, high = fitted._runs["fit"].probes[0].value_range
        (said,), found, before = self.restored(fitted, [low + 0.01, high - 0.1])
        assert found == before
        assert "did not find the images" in said

    def test_other_units_have_another(self, fitted):
        said, found, before = self.restored(fitted, [0.0, 255.0])
        assert found == (0.0, 255.0)
        assert f"share of the range (0.0, 255.0) from now on (it was {before})" in said[1]
