"""What monitors see where there is no value, and which epochs have none."""

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tests.callbacks._runs import Attendance, Net, in_epochs, loader, monitor, train


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class TestStandIns:
    """What monitors see where there is no value."""

    def seen(self, explainer, key, **settings):
        attendance = Attendance()
        train([monitor(explainer), attendance], max_epochs=3, **settings)
        return [values[key] for _, values in attendance.seen]

    @pytest.mark.parametrize(
        ("key", "worst"),
        [
            ("xai/faithfulness", -1.0),
            ("xai/insertion_auc", 0.0),
            ("xai/deletion_auc", 1.0),
            ("xai/faithfulness_gain", -2.0),
            ("xai/heatmap_drift", 2.0),
            ("xai/probe_accuracy", 0.0),
            ("xai/undefined/heatmap_drift", 4.0),
        ],
    )
    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_the_worst_value_stands_in_until_there_is_one(self, key, worst):
        assert self.seen(in_epochs("raises"), key) == [worst] * 3

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_the_last_good_value_stands_in_after_that(self):
        found = self.seen(in_epochs("raises", 1), "xai/faithfulness")
        assert found[0] == found[1] != found[2]

    def test_an_undefined_value_leaves_the_last_good_one(self):
        found = self.seen(in_epochs("zeros", 2), "xai/heatmap_drift")
        assert found[0] == 2.0
        assert found[2] == found[1] < 2.0


@pytest.mark.parametrize("explainer", [in_epochs(mood, 1, 2, 3, 4) for mood in ("raises", "nan")])
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_early_stopping_that_checks_for_finite_values_runs_out_of_patience_only(explainer):
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=3, check_finite=True)
    run = train([monitor(explainer), stopping], max_epochs=9)
    assert run.trainer.current_epoch == 1 + 3
    assert stopping.wait_count == 3


@pytest.mark.parametrize("explained", [True, False])
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_keys_of_several_loaders_exist(explained):
    attendance = Attendance()
    stopping = EarlyStopping("xai/heatmap_drift/dataloader_idx_1", mode="min", patience=99)
    ours = monitor(in_epochs("" if explained else "raises"))
    run = train([stopping, ours, attendance], val_loader=[loader(6, seed=1), loader(5, seed=2)], max_epochs=3)
    assert run.trainer.current_epoch == 3
    assert len(ours.history) == (3 if explained else 0)
    suffixes = {key.rsplit("/", 1)[1] for _, values in attendance.seen for key in values}
    assert suffixes == {"dataloader_idx_0", "dataloader_idx_1"}
    assert [set(values) for _, values in attendance.seen] == [set(attendance.seen[0][1])] * 3


class TestGaps:
    """Explained: every n-th epoch, the first validation of a fit, and what comes n or more epochs after the last."""

    def rule(self, validated, n):
        explained, last = [], None
        for epoch in validated:
            if last is None or (epoch + 1) % n == 0 or epoch - last >= n:
                explained.append(epoch)
                last = epoch
        return explained

    @pytest.mark.parametrize(
        ("n", "m", "expected"),
        [
            (1, 1, list(range(8))),
            (2, 1, [0, 1, 3, 5, 7]),
            (3, 1, [0, 2, 5]),
            (4, 1, [0, 3, 7]),
            (2, 3, [2, 5]),
            (3, 2, [1, 5]),
            (2, 2, [1, 3, 5, 7]),
            (9, 1, [0]),
        ],
    )
    def test_explained_epochs(self, n, m, expected):
        ours = monitor(in_epochs(""), [], every_n_epochs=n)
        train([ours], max_epochs=8, check_val_every_n_epoch=m)
        found = [row["epoch"] for row in ours.history]
        assert found == expected == self.rule(range(m - 1, 8, m), n)

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_an_epoch_that_failed_is_made_up_for_at_the_next_validation(self):
        ours = monitor(in_epochs("raises", 3), [], every_n_epochs=2)
        train([ours], max_epochs=8)
        assert [row["epoch"] for row in ours.history] == [0, 1, 4, 5, 7]


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_an_early_stopping_that_never_gets_a_value_ends_the_run_with_the_reason(patience):
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=patience)
    attendance = Attendance()
    with pytest.raises(MisconfigurationException, match=f"all of {patience + 1} validations.*no heatmap today"):
        train([monitor(in_epochs("raises")), stopping, attendance], max_epochs=9)
    assert len(attendance.seen) == patience


class StopsByItself(L.Callback):
    """A user's own early stopping."""

    monitor, patience, wait_count, stopped_epoch = "xai/faithfulness", 2, 0, 0

    def on_validation_end(self, trainer, pl_module):
        self.wait_count += not trainer.sanity_checking
        trainer.should_stop = self.wait_count > self.patience


class Subclass(EarlyStopping):
    pass


@pytest.mark.parametrize(
    ("make", "validations"),
    [
        (lambda: EarlyStopping("xai/faithfulness", mode="max", patience=5, divergence_threshold=-0.5), 1),
        (lambda: EarlyStopping("xai/deletion_auc", mode="min", patience=5, divergence_threshold=0.9), 1),
        (lambda: EarlyStopping("xai/faithfulness", mode="min", patience=5, stopping_threshold=-0.9), 1),
        (lambda: Subclass("xai/faithfulness", mode="max", patience=2), 3),
        (StopsByItself, 3),
    ],
)
@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing", "ignore:EarlyStopping monitors")
def test_so_does_everything_that_a_stand_in_would_let_stop(make, validations):
    said = f"ends the run now, but explaining failed in all of {validations} validations"
    with pytest.raises(MisconfigurationException, match=said):
        train([monitor(in_epochs("raises")), make()], max_epochs=9)


@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing", "ignore:Be aware that when using `ckpt_path`")
def test_what_was_waited_before_a_resume_counts(tmp_path):
    def callbacks():
        return [monitor(in_epochs("raises")), EarlyStopping("xai/faithfulness", mode="max", patience=3)]

    train([*callbacks(), ModelCheckpoint(tmp_path, filename="saved")], max_epochs=2)
    with pytest.raises(MisconfigurationException, match="explaining failed in all of 2 validations"):
        train(callbacks(), max_epochs=9, ckpt_path=tmp_path / "saved.ckpt")


class OnPlateau(Net):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "xai/faithfulness"}}


@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_checkpoints_schedulers_and_other_thresholds_end_nothing(tmp_path):
    saving = ModelCheckpoint(tmp_path, monitor="xai/faithfulness", mode="max", save_top_k=2)
    far = EarlyStopping("xai/faithfulness", mode="max", patience=9, divergence_threshold=-2.0, stopping_threshold=0.9)
    run = train([monitor(in_epochs("raises")), saving, far], OnPlateau, max_epochs=6)
    assert run.trainer.current_epoch == 6


@pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
def test_one_value_is_enough_for_an_early_stopping_to_end_the_run_in_its_own_way():
    stopping = EarlyStopping("xai/faithfulness", mode="max", patience=2)
    trainer = train([monitor(in_epochs("raises", 1, 2, 3, 4)), stopping], max_epochs=9).trainer
    assert (trainer.current_epoch, stopping.stopped_epoch) == (3, 2)
