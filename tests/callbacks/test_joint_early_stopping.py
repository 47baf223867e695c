"""Stopping on several metrics, in a real Trainer: when it decides, what counts, what it says, what it resumes."""

import math
import pickle

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_xai import JointEarlyStopping
from tests.callbacks._runs import Net, train

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

LOSS = (0.9, 0.5, 0.6, 0.7, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RECALL = (0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def logging(**columns):
    """Return a class of modules that log what is written down, epoch by epoch."""

    class Logging(Net):
        def on_validation_epoch_end(self):
            if not self.trainer.sanity_checking:
                for name, values in columns.items():
                    self.log(name, values[min(self.current_epoch, len(values) - 1)])

    return Logging


def run(*callbacks, loss=LOSS, recall=RECALL, **settings):
    wanted = {"max_epochs": 10, "limit_train_batches": 1, "num_sanity_val_steps": 0, **settings}
    return train([*callbacks], logging(loss=loss, recall=recall), **wanted).trainer


def joint(**settings):
    return JointEarlyStopping({"loss": "min", "recall": "max"}, **settings)


class TestWhenItStops:
    @pytest.mark.parametrize(
        ("patience", "epochs"),
        [(1, 4), (2, 7), (3, 8), (6, 10)],  # both wait in epoch 3; the loss falls in epoch 4, and nothing after it
    )
    def test_when_none_got_better(self, patience, epochs):
        stop = joint(patience=patience)
        assert run(stop).current_epoch == epochs
        if patience < 6:
            assert stop.stopped_epoch == epochs - 1
            assert stop.wait_count == patience
        else:
            assert (stop.stopped_epoch, stop.wait_count, stop.stopping_reason_message) == (0, 5, None)

    def test_it_says_why(self):
        stop = joint(patience=2)
        run(stop)
        assert stop.best == pytest.approx({"loss": 0.4, "recall": 0.3})
        assert stop.stopping_reason_message == (
            "none of loss, recall improved in the last 2 checks (best: loss 0.4, recall 0.3)"
        )

    def test_of_one_metric_it_is_lightnings(self):
        for patience in (1, 2, 3):
            own, theirs = JointEarlyStopping({"loss": "min"}, patience), EarlyStopping("loss", patience=patience)
            assert run(own).current_epoch == run(theirs).current_epoch
            assert (own.stopped_epoch, own.wait_count) == (theirs.stopped_epoch, theirs.wait_count)
            assert own.best["loss"] == pytest.approx(float(theirs.best_score))

    @pytest.mark.parametrize(
        ("min_delta", "patience", "epochs"),
        # steps of .01: .50 is beaten by more than .025 in epochs 3, 6, 9, so that two checks in a row are in vain
        [(0.0, 1, 10), (0.025, 2, 3), (0.025, 3, 10), ({"recall": 0.025}, 2, 3), ({"loss": 5.0}, 1, 10)],
    )
    def test_small_steps_do_not_count(self, min_delta, patience, epochs):
        slow = [0.5 + 0.01 * epoch for epoch in range(10)]
        stop = joint(patience=patience, min_delta=min_delta)
        assert run(stop, loss=[1.0] * 10, recall=slow).current_epoch == epochs

    def test_nan_and_infinity(self):
        broken = (0.9, 0.8, math.nan, 0.6, 0.5)
        stop = joint(patience=5)
        assert run(stop, loss=broken, max_epochs=5).current_epoch == 3
        assert stop.stopping_reason_message == "loss is not finite"
        assert stop.best["loss"] == pytest.approx(0.8)
        lasting = JointEarlyStopping({"loss": "min"}, patience=2, check_finite=False)
        assert run(lasting, loss=broken, max_epochs=5).current_epoch == 5
        assert run(JointEarlyStopping({"loss": "min"}, 1, check_finite=False), loss=broken).current_epoch == 3

    def test_checks_are_where_lightnings_are(self):
        """Two validations in an epoch are two checks; validations every other epoch are checks of their own."""
        flat = [1.0] * 10
        for settings in ({"val_check_interval": 1, "limit_train_batches": 2}, {"check_val_every_n_epoch": 2}):
            own, theirs = JointEarlyStopping({"loss": "min"}, 3), EarlyStopping("loss", patience=3)
            trainers = [run(one, loss=flat, **settings) for one in (own, theirs)]
            assert trainers[0].global_step == trainers[1].global_step
            assert own.wait_count == theirs.wait_count == 3

    def test_neither_a_sanity_check_nor_validate_nor_fast_dev_run_counts(self):
        stop = joint(patience=1)
        trainer = run(stop, num_sanity_val_steps=1, max_epochs=2)
        assert trainer.current_epoch == 2
        before = stop.state_dict()
        trainer.validate(trainer.lightning_module, trainer.val_dataloaders)
        assert stop.state_dict() == before
        quick = joint(patience=1)
        run(quick, fast_dev_run=True)
        assert quick.best == {"loss": math.inf, "recall": -math.inf}

    def test_a_new_fit_begins_anew(self):
        stop = joint(patience=2)
        assert [run(stop).current_epoch for _ in range(2)] == [7, 7]

    def test_every_check_is_told_if_asked_for(self, caplog):
        caplog.set_level("INFO")
        run(joint(patience=1, verbose=True))
        told = [one.message for one in caplog.records if one.message.startswith("JointEarlyStopping")]
        assert told[1] == "JointEarlyStopping: loss, recall improved (best: loss 0.5, recall 0.2)."
        assert told[3].endswith("improved in the last check (best: loss 0.5, recall 0.3): training stops.")
        assert len(told) == 4
        caplog.clear()
        run(joint(patience=1))
        assert sum("JointEarlyStopping" in one.message for one in caplog.records) == 1


class TestResume:
    def test_a_run_in_two_parts_is_one_run(self, tmp_path):
        keep = ModelCheckpoint(tmp_path, save_last=True, save_top_k=0)
        stop = joint(patience=2)
        assert run(stop, keep, max_epochs=6).current_epoch == 6
        assert stop.wait_count == 1
        again = joint(patience=2)
        last = str(tmp_path / "last.ckpt")
        resumed = train(
            [again], logging(loss=LOSS, recall=RECALL), max_epochs=10, limit_train_batches=1, ckpt_path=last
        )
        assert resumed.trainer.current_epoch == 7
        assert again.best == pytest.approx({"loss": 0.4, "recall": 0.3})
        state = torch.load(last, weights_only=True)["callbacks"]
        (kept,) = (value for name, value in state.items() if name.startswith("JointEarlyStopping"))
        assert kept == {
            "best": {"loss": pytest.approx(0.4), "recall": pytest.approx(0.3)},
            "wait_count": 1,
            "stopped_epoch": 0,
            "stopping_reason_message": None,
        }

    def test_states_of_other_metrics_keep_apart(self):
        keys = {JointEarlyStopping(one).state_key for one in ({"a": "min"}, {"b": "min"}, {"a": "max"})}
        assert len(keys) == 3

    @pytest.mark.parametrize("state", [{}, {"best": {"loss": 1.0}}, {"best": None}])
    def test_a_state_that_cannot_be_read_is_told(self, state):
        stop = joint()
        with pytest.warns(UserWarning, match="JointEarlyStopping starts afresh"):
            stop.load_state_dict(state)
        assert stop.best == {"loss": math.inf, "recall": -math.inf}

    def test_it_pickles(self):
        stop = pickle.loads(pickle.dumps(joint(patience=4)))
        assert (stop.patience, stop.monitors) == (4, {"loss": "min", "recall": "max"})
        assert isinstance(stop, L.Callback)


class TestErrors:
    def test_a_metric_that_is_not_logged(self):
        stop = JointEarlyStopping({"loss": "min", "recal": "max"})
        with pytest.raises(MisconfigurationException) as caught:
            run(stop)
        said = str(caught.value)
        assert "`monitors` of JointEarlyStopping to name metrics that are logged, but got 'recal'" in said
        assert "there are: loss, recall, val_loss. Did you mean 'recall'? Log it in `validation_step`" in said

    @pytest.mark.parametrize(
        ("arguments", "error", "told"),
        [
            ({"monitors": {}}, ValueError, "at least one metric"),
            ({"monitors": "val_loss"}, TypeError, "`monitors` to map names of metrics to 'min' or 'max'.*got str"),
            ({"monitors": {"a": "least"}}, ValueError, "`monitors` to be one of 'min', 'max', but got 'least'"),
            ({"monitors": {"a": "min"}, "patience": 0}, ValueError, "`patience`"),
            ({"monitors": {"a": "min"}, "min_delta": -1.0}, ValueError, "`min_delta`"),
            ({"monitors": {"a": "min"}, "min_delta": {"b": 1.0}}, ValueError, "`min_delta` to be one of 'a'"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, told):
        with pytest.raises(error, match=told):
            JointEarlyStopping(**arguments)
