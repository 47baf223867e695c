"""Early stopping on explanations, in a real Trainer: when it decides, what counts, what it says, what it resumes."""

import copy
import pickle

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_xai import ExplanationEarlyStopping, ExplanationMonitor
from tests.callbacks._runs import Constant, Moody, differing, loader, monitor, train
from tests.callbacks._scripted import Falling, Told, graded, run, stopping, watch

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")

FALL = (0.5, 0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.2)
RISE = (0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def epochs(callback, scores=RISE, **settings):
    """How many epochs a run of at most eight has."""
    found = run([watch(scores), callback], **{"max_epochs": 8, **settings})
    return found.trainer.current_epoch


class TestRules:
    def test_a_fall_ends_the_run_with_its_reason(self):
        stop = stopping(rule="fall", patience=3)
        assert epochs(stop, FALL) == 7
        assert stop.stopped_epoch == 6
        assert stop.stopping_reason_message == f"xai/told {stop.decision.reason}"
        assert "a fall of more than 2 standard errors in epochs 4, 5, 6" in stop.decision.reason
        assert stop.decision.difference.value == pytest.approx(-0.3, abs=1e-5)
        assert 0 < stop.decision.difference.error < 0.02
        assert stop.wait_count == 3

    def test_a_rise_and_a_plateau_are_no_fall(self):
        stop = stopping(rule="fall", patience=1)
        assert epochs(stop) == 8
        assert not stop.decision.stop
        assert stop.stopping_reason_message is None

    @pytest.mark.parametrize("patience", [1, 2, 4])
    def test_no_gain_counts_from_the_best(self, patience):
        stop = stopping(patience=patience, min_delta=0.05)
        assert epochs(stop) == 3 + patience
        assert stop.stopped_epoch == 2 + patience
        assert "no gain above 0.05" in stop.stopping_reason_message
        assert "from the best, epoch 2" in stop.stopping_reason_message

    def test_a_gain_smaller_than_its_error_is_none(self):
        slow = [0.001 * epoch for epoch in range(8)]
        assert epochs(stopping(patience=2), slow) == 3 + 0
        assert epochs(stopping(patience=2, min_delta=0.0), slow) == 8

    @pytest.mark.parametrize("rule", ["fall", "no_gain"])
    def test_lower_is_better_where_the_metric_says_so(self, rule):
        ours = monitor(Constant(), {"told": Falling([0.2, 0.2, 0.2, 0.5, 0.5, 0.5])})
        stop = stopping(rule=rule, patience=2)
        assert run([ours, stop], max_epochs=6).trainer.current_epoch == (5 if rule == "fall" else 3)
        assert stop.mode == "min"

    def test_the_order_of_callbacks_does_not_matter(self):
        stop = stopping(rule="fall", patience=1)
        assert run([stop, watch(FALL)], max_epochs=8).trainer.current_epoch == 5

    def test_lightnings_own_still_works_beside_it(self):
        plain = EarlyStopping("xai/told", mode="max", patience=2)
        stop = stopping(patience=4)
        assert run([watch(RISE), stop, plain], max_epochs=8).trainer.current_epoch == 5
        assert plain.stopped_epoch == 4
        assert stop.stopped_epoch == 0

    def test_min_epochs_are_trained(self):
        assert epochs(stopping(rule="fall", patience=1), FALL, min_epochs=7) == 7


class TestWhatCounts:
    def test_epochs_without_an_explanation_do_not(self):
        stop = stopping(patience=2)
        with pytest.MonkeyPatch.context():
            found = run([watch(RISE, every_n_epochs=2), stop], max_epochs=8)
        # explained: 0, 1, 3, 5, 7; best in 3
        assert found.trainer.current_epoch == 8
        assert stop.stopped_epoch == 7
        assert stop.wait_count == 2

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_an_explanation_that_fails_does_not(self):
        ours = monitor(Moody(lambda epoch: "raises" if epoch in {0, 3, 4} else ""), {"told": Told(RISE)})
        stop = stopping(patience=2)
        assert run([ours, stop], max_epochs=8).trainer.current_epoch == 7
        assert "in epochs 5, 6" in stop.stopping_reason_message

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_a_run_without_any_goes_on(self):
        stop = stopping(patience=1)
        ours = monitor(Moody(lambda epoch: "raises"), {"told": Told(RISE)})
        assert run([ours, stop], max_epochs=3).trainer.current_epoch == 3
        assert stop.decision is None

    def test_only_while_the_condition_holds(self):
        accuracies = [0.3, 0.5, 0.6, 0.7, 0.85, 0.9, 0.7, 0.95]
        high_first = (0.9, 0.9, 0.9, 0.9, 0.3, 0.2, 0.9, 0.2)
        stop = stopping(patience=2, only_if={"val_acc": 0.8})
        assert run([watch(high_first), stop], accuracies).trainer.current_epoch == 8
        assert "from the best, epoch 4" in stop.stopping_reason_message
        assert "in epochs 5, 7" in stop.stopping_reason_message

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ({"val_loss": ("<", 1e9)}, 3),
            ({"val_loss": ("<", 0.0)}, 5),
            ({"val_loss": [">=", 0]}, 3),
            ({"val_loss": ("<", 1e9), "val_acc": (">", 0.3)}, 4),
            ({"val_acc": 0.3}, 3),
            ({"val_acc": ("<=", 0.3)}, 5),
        ],
    )
    def test_conditions(self, condition, expected):
        accuracies = [0.3, 0.4, 0.4, 0.4, 0.4]
        stop = stopping(patience=2, only_if=condition)
        assert run([watch([0.3]), stop], accuracies).trainer.current_epoch == expected

    def test_a_metric_that_is_logged_at_the_end_of_the_epoch(self):
        stop = stopping(patience=2, only_if={"val_acc": 0.8})
        found = run([watch([0.3]), stop], [0.1, 0.9, 0.9, 0.9, 0.9], hook="train")
        assert found.trainer.current_epoch == 4

    def test_a_metric_that_is_not_a_number_does_not_hold(self):
        stop = stopping(patience=1, only_if={"val_acc": 0.0})
        assert run([watch([0.3]), stop], [float("nan")] * 3).trainer.current_epoch == 3

    @pytest.mark.parametrize(
        ("settings", "every_n_steps", "stops"),
        [
            ({"val_check_interval": 0.5}, None, 2),  # explained: the first validation, and the last of each epoch
            ({"val_check_interval": 0.5}, 1, 1),
            ({"check_val_every_n_epoch": 2}, None, 7),
        ],
    )
    def test_several_validations_in_an_epoch_or_few(self, settings, every_n_steps, stops):
        stop = stopping(patience=3)
        given = {"max_epochs": 8, "limit_train_batches": 2, **settings}
        ours = watch([0.3], every_n_steps=every_n_steps)
        assert run([ours, stop], **given).trainer.current_epoch == stops + 1

    def test_a_new_probe_starts_anew(self, tmp_path):
        saving = ModelCheckpoint(tmp_path / "saved", filename="saved")
        run([watch([0.9]), stopping(patience=2), saving], max_epochs=2)
        again = stopping(patience=2)
        with pytest.warns(UserWarning, match="did not find the images of the restored probe"):
            found = run(
                [watch([0.9, 0.9, 0.9, 0.2, 0.2, 0.2, 0.2]), again],
                max_epochs=8,
                ckpt_path=tmp_path / "saved" / "saved.ckpt",
                val_loader=loader(10, seed=5),
            )
        assert found.trainer.current_epoch == 5
        assert "from the best, epoch 2" in again.stopping_reason_message


class TestResume:
    @pytest.mark.parametrize("settings", [{"rule": "fall"}, {"only_if": {"val_acc": 0.8}}])
    @pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end"])
    @pytest.mark.parametrize("epoch", [2, 5])
    def test_a_resumed_run_decides_like_an_uninterrupted_one(self, settings, hook, epoch):
        class Saves(L.Callback):
            pass

        def save(trainer, *args):
            if not trainer.sanity_checking and trainer.current_epoch == epoch:
                trainer.save_checkpoint("saved.ckpt", weights_only=False)

        accuracies = [0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
        scores = (0.5, 0.9, 0.6, 0.5, 0.2, 0.2, 0.2, 0.2, 0.2)
        whole = stopping(patience=3, **settings)
        expected = run([watch(scores), whole], accuracies)
        assert 0 < whole.stopped_epoch < 8
        saves = Saves()
        setattr(saves, hook, save)
        run([watch(scores), stopping(patience=3, **settings), saves], accuracies, max_epochs=epoch + 1)
        assert torch.load("saved.ckpt", weights_only=True)["callbacks"][whole.state_key]
        again = stopping(patience=3, **settings)
        found = run([watch(scores), again], accuracies, ckpt_path="saved.ckpt")
        assert again.decision == whole.decision
        assert again.stopping_reason_message == whole.stopping_reason_message
        assert again.stopped_epoch == whole.stopped_epoch
        assert found.trainer.current_epoch == expected.trainer.current_epoch

    def test_a_malformed_state_starts_afresh(self):
        stop = stopping()
        for state in ({}, {"logged": 3}, {"logged": [[1, 2]]}, {"logged": [["a", 1, {}]]}):
            with pytest.warns(UserWarning, match="starts afresh"):
                stop.load_state_dict(state)

    def test_a_second_fit_starts_afresh(self):
        stop, ours = stopping(patience=2), watch(RISE)
        run([ours, stop], max_epochs=8)
        assert stop.stopped_epoch
        run([ours, stop], max_epochs=2)
        assert (stop.stopped_epoch, stop.stopping_reason_message) == (0, None)

    @pytest.mark.parametrize("twin", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies(self, twin):
        stop = twin(stopping(rule="fall", patience=1, only_if={"val_loss": ("<", 1e9)}))
        assert epochs(stop, FALL) == 5


class TestLeavesNoTrace:
    @pytest.mark.parametrize("rule", ["fall", "no_gain"])
    def test_weights_are_those_of_as_many_epochs_without_it(self, rule):
        stop = stopping(rule=rule, patience=2, only_if={"val_acc": 0.1})
        found = run([watch(FALL), stop], [0.5] * 8)
        count = found.trainer.current_epoch
        assert count < 8
        assert differing(found.state(), run([], [0.5] * count).state()) == []


class TestErrors:
    def test_no_monitor(self):
        with pytest.raises(MisconfigurationException, match=r"there is none: add ExplanationMonitor\(\)"):
            run([stopping()])

    def test_a_monitor_of_other_keys(self):
        with pytest.raises(MisconfigurationException, match=r"those that are there log 'other/…'"):
            run([watch([0.1], prefix="other"), stopping()])

    @pytest.mark.parametrize("first", [True, False])
    def test_an_unknown_key_gets_the_list_and_the_nearest(self, first):
        ours, stop = watch([0.1]), stopping(monitor="xai/tolt")
        with pytest.raises(MisconfigurationException, match=r"xai/told.*Did you mean 'xai/told'\?"):
            run([ours, stop] if first else [stop, ours])

    def test_a_key_without_values_per_image(self):
        with pytest.raises(MisconfigurationException, match=r"to be one of 'xai/told', but got 'xai/probe_accuracy'"):
            run([watch([0.1]), stopping(monitor="xai/probe_accuracy")])

    def test_localization_without_annotations_is_refused_before_training(self):
        class NoTraining(graded([])):
            def training_step(self, batch, batch_idx):
                raise AssertionError

        ours = ExplanationMonitor(Constant(), num_images=4, reports=[])
        with pytest.raises(MisconfigurationException, match="It will log: "):
            train([ours, stopping(monitor="xai/pointing_game")], NoTraining)

    def test_one_image_has_no_error(self):
        with pytest.raises(MisconfigurationException, match=r"num_images=….* to be 2 or more"):
            run([watch([0.1], num_images=1), stopping()])

    def test_a_condition_on_a_metric_that_is_never_logged(self):
        stop = stopping(only_if={"val_acc": 0.5})
        with pytest.raises(
            MisconfigurationException, match=r"`only_if` of ExplanationEarlyStopping .* 'val_acc'.*val_loss"
        ):
            run([watch([0.1]), stop])

    def test_a_misspelt_condition_is_warned_of_before_training_and_refused_after_the_first_validation(self):
        stop = stopping(only_if={"val_losss": ("<", 0.5)})
        with (
            pytest.warns(UserWarning, match=r"names no metric so far. Did you mean 'val_loss'\?"),
            pytest.raises(MisconfigurationException, match=r"Did you mean 'val_loss'\?"),
        ):
            run([watch([0.1]), stop], max_epochs=2)

    @pytest.mark.parametrize(
        ("settings", "error", "said"),
        [
            ({"rule": "falls"}, ValueError, "Expected `rule` to be one of 'fall', 'no_gain', but got 'falls'"),
            ({"patience": 0}, ValueError, "`patience` to be >= 1"),
            ({"min_delta": -0.1}, ValueError, "`min_delta` to be >= 0"),
            ({"min_delta": "sd"}, TypeError, "`min_delta` to be a number"),
            ({"rule": "fall", "min_delta": 0.1}, ValueError, "`min_delta` with rule='no_gain' only"),
            ({"num_previous": 3}, ValueError, "`num_previous` with rule='fall' only"),
            ({"rule": "fall", "num_previous": 2}, ValueError, "`num_previous` to be >= 3"),
            ({"only_if": {"val_acc": "0.8"}}, ValueError, r"Expected `only_if\['val_acc'\]` to be the least value"),
            ({"only_if": {"val_acc": ("=", 0.8)}}, ValueError, "with one of <, <=, >, >=, but got "),
            ({"only_if": {"val_acc": True}}, ValueError, "least value"),
            ({"mode": "best"}, ValueError, "`mode` to be one of"),
        ],
    )
    def test_arguments(self, settings, error, said):
        with pytest.raises(error, match=said):
            stopping(**settings)

    def test_the_defaults(self):
        stop = ExplanationEarlyStopping()
        assert (stop.monitor, stop.rule, stop.patience, stop.min_delta) == ("xai/faithfulness_gain", "fall", 3, "se")

    def test_a_gap_is_no_reason_to_multiply_patience(self, recwarn):
        run([watch(RISE, every_n_epochs=2), stopping(patience=2)], max_epochs=2)
        assert not [one for one in recwarn if "patience" in str(one.message)]

    def test_the_reason_is_told(self, caplog):
        with caplog.at_level("INFO"):
            epochs(stopping(rule="fall", patience=1), FALL)
        assert "a fall of more than 2 standard errors in epoch 4: training stops." in caplog.text

    def test_fast_dev_run_decides_nothing(self):
        stop = stopping(patience=1)
        run([watch([0.1]), stop], fast_dev_run=2)
        assert stop.decision is None

    def test_validate_alone_asks_for_nothing(self):
        stop = stopping()
        found = run([ExplanationMonitor(Constant(), {"told": Told([0.1])}, num_images=4, reports=[]), stop])
        decision = stop.decision
        found.trainer.validate(found.module, loader(6), verbose=False)
        assert stop.decision is decision
