"""The best explained of equally accurate checkpoints, in a real Trainer: what is on disk, what is chosen, resumed."""

import copy
import pickle
import re
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, DistributedSampler

from lightning_xai import ExplanationCheckpoint, ExplanationMonitor, JointEarlyStopping
from lightning_xai._lightning import each_loader
from lightning_xai.callbacks.validation_accuracy import without_repeats
from tests.callbacks._killed import ACCURACIES, RUNS, SCORES, callbacks, killed
from tests.callbacks._runs import Constant, Moody, Net, differing, loader, monitor, train
from tests.callbacks._scripted import Falling, Told, files, graded, keeping, run, stopping, watch

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:Checkpoint directory")


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Disk(L.Callback):
    """Which checkpoints lie on the disk at the start of each epoch, and at the end."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def on_train_epoch_start(self, trainer, pl_module):
        self.seen.append([int(name.removeprefix("epoch=").split(".")[0]) for name in files(self.folder)])

    on_train_end = on_train_epoch_start


def kept(scores, accuracies, folder, **settings):
    """Return the callback after a run, and which epochs lay on the disk after each epoch."""
    disk, keep = Disk(folder), keeping(folder, **settings)
    run([disk, watch(scores), keep], accuracies)
    return keep, disk.seen[1:]


class TestRules:
    def test_the_front_stays_until_a_rising_accuracy_outgrows_it(self, tmp_path):
        keep, disk = kept(SCORES, ACCURACIES, tmp_path / "kept", margin=0.05)
        assert disk == [[0], [1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [3, 4, 5], [3, 4, 5]]
        assert keep.best_model_path == str(tmp_path / "kept" / "epoch=3.ckpt")
        assert float(keep.best_model_score) == pytest.approx(0.65, abs=1e-5)
        assert [one.epoch for one in keep.kept] == [3, 4, 5]
        assert sorted(Path(path).name for path in keep.best_k_models) == files(tmp_path / "kept")
        assert keep.reason.startswith("epoch 3, xai/told 0.650 ± ")
        assert keep.reason.endswith("the best explained of 4 within 0.05 of the best val_acc (0.88, epoch 5)")

    def test_the_chosen_file_holds_the_weights_of_its_epoch(self, tmp_path):
        keep, _ = kept(SCORES, ACCURACIES, tmp_path / "kept", margin=0.05)
        saved = torch.load(keep.best_model_path, weights_only=True)
        assert saved["epoch"] == 3
        expected = run([], ACCURACIES, max_epochs=4).module.state_dict()
        assert differing(saved["state_dict"], dict(expected)) == []

    def test_the_error_is_that_of_the_validation_images(self, tmp_path):
        # 10 validation images: .9 ± .0949
        keep, disk = kept((0.9, 0.5, 0.1), (0.8, 0.81, 0.9), tmp_path / "kept")
        assert disk[-1] == [1, 2]
        assert keep.kept[-1].accuracy_error == pytest.approx((0.9 * 0.1 / 10) ** 0.5, abs=1e-6)
        assert Path(keep.best_model_path).name == "epoch=1.ckpt"

    def test_pareto_keeps_the_whole_front(self, tmp_path):
        keep, disk = kept((0.9, 0.8, 0.3, 0.5, 0.1), (0.1, 0.5, 0.6, 0.7, 0.9), tmp_path / "kept", rule="pareto")
        assert disk[-1] == [0, 1, 3, 4]
        assert Path(keep.best_model_path).name == "epoch=4.ckpt"

    def test_pareto_over_several_scores(self, tmp_path):
        scores = {"told": Told((0.9, 0.8, 0.7)), "other": Falling((0.5, 0.4, 0.5))}
        keep = keeping(tmp_path / "kept", monitor=["xai/told", "xai/other"], rule="pareto")
        run([monitor(Constant(), scores), keep], (0.5, 0.5, 0.5))
        assert files(tmp_path / "kept") == ["epoch=0.ckpt", "epoch=1.ckpt"]
        assert keep.monitor == "xai/told"

    def test_max_kept(self, tmp_path, caplog):
        with caplog.at_level("INFO"):
            keep, disk = kept(
                (0.9, 0.8, 0.6, 0.3), (0.1, 0.5, 0.6, 0.7), tmp_path / "kept", rule="pareto", max_kept=2, margin=0.0
            )
        assert [len(one) for one in disk] == [1, 2, 2, 2]
        assert "ExplanationCheckpoint(max_kept=2) leaves out epoch 0 of the front" in caplog.text
        assert Path(keep.best_model_path).name == "epoch=3.ckpt"

    def test_ties_go_to_the_more_accurate(self, tmp_path):
        disk, keep = Disk(tmp_path / "kept"), keeping(tmp_path / "kept", margin=0.1)
        run([disk, watch((0.501, 0.5), spread=0.3), keep], (0.80, 0.85))
        assert Path(keep.best_model_path).name == "epoch=1.ckpt"
        assert "cannot be told apart" in keep.reason

    def test_a_loss_for_the_accuracy_and_a_score_that_falls(self, tmp_path):
        ours = monitor(Constant(), {"told": Falling((0.5, 0.1, 0.4))})
        keep = keeping(tmp_path / "kept", accuracy="loss", accuracy_mode="min", margin=0.1)
        run([ours, keep], (0.5, 0.25, 0.2), name="loss")
        assert Path(keep.best_model_path).name == "epoch=1.ckpt"
        assert files(tmp_path / "kept") == ["epoch=1.ckpt", "epoch=2.ckpt"]

    @pytest.mark.parametrize(
        ("settings", "every_n_steps", "expected"),
        [
            ({"check_val_every_n_epoch": 2}, None, ["epoch=1-step=4.ckpt", "epoch=3-step=8.ckpt"]),
            ({"val_check_interval": 0.5}, None, ["epoch=0-step=1.ckpt", "epoch=3-step=8.ckpt"]),
            ({"val_check_interval": 0.5}, 1, ["epoch=0-step=1.ckpt", "epoch=3-step=7.ckpt"]),
        ],
    )
    def test_other_rhythms_of_validation(self, settings, every_n_steps, expected, tmp_path):
        keep = keeping(tmp_path / "kept", filename="{epoch}-{step}")
        given = {"max_epochs": 4, "limit_train_batches": 2, **settings}
        run([watch((0.4, 0.4, 0.3, 0.2), every_n_steps=every_n_steps), keep], (0.5, 0.5, 0.5, 0.6), **given)
        assert files(tmp_path / "kept") == expected

    def test_epochs_without_an_explanation_are_no_candidates(self, tmp_path):
        keep = keeping(tmp_path / "kept")
        run([watch([0.5] * 6, every_n_epochs=3), keep], (0.5, 0.99, 0.6, 0.99, 0.99, 0.7))
        assert [one.epoch for one in keep.kept] == [5]
        assert keep.kept[0].accuracy == pytest.approx(0.7)

    @pytest.mark.filterwarnings("ignore:ExplanationMonitor logs nothing")
    def test_a_run_without_explanations_says_that_nothing_was_saved(self, tmp_path):
        ours = monitor(Moody(lambda epoch: "raises"), {"told": Told([0.1])})
        keep = keeping(tmp_path / "kept")
        with pytest.warns(UserWarning, match="ExplanationCheckpoint saved nothing"):
            run([ours, keep], (0.5, 0.5))
        assert keep.best_model_path == ""

    @pytest.mark.parametrize("first", [True, False])
    def test_beside_lightnings_own_and_before_it(self, first, tmp_path):
        keep, other = keeping(tmp_path / "kept"), ModelCheckpoint(tmp_path / "other", filename="{epoch}")
        found = run([*([other, keep] if first else [keep, other]), watch([0.1] * 3)], (0.5, 0.6, 0.7))
        saved = torch.load(tmp_path / "other" / "epoch=2.ckpt", weights_only=True)
        assert saved["callbacks"][keep.state_key]["best_model_path"] == keep.best_model_path
        assert found.trainer.checkpoint_callback is keep

    def test_names_and_folders_as_users_know_them(self, tmp_path):
        keep = ExplanationCheckpoint(
            "xai/told", filename="e{epoch}-{xai/told:.2f}-{val_acc:.2f}", auto_insert_metric_name=False, save_last=True
        )
        run([watch([0.25] * 2), keep], (0.5, 0.6), logger=CSVLogger(tmp_path, name="logs"))
        folder = tmp_path / "logs" / "version_0" / "checkpoints"
        assert files(folder) == ["e1-0.25-0.60.ckpt", "last.ckpt"]
        assert torch.load(keep.last_model_path, weights_only=True)["epoch"] == 1


class TestAccuracy:
    def test_it_is_found_among_what_is_logged_and_told(self, tmp_path, caplog):
        with caplog.at_level("INFO"):
            kept((0.5, 0.1), (0.5, 0.9), tmp_path / "kept")
        assert "ExplanationCheckpoint takes 'val_acc' for the accuracy." in caplog.text
        assert "ExplanationCheckpoint chose " in caplog.text

    def test_without_any_it_is_that_of_the_probe(self, tmp_path):
        keep, ours = keeping(tmp_path / "kept"), watch([0.5, 0.1])
        run([ours, keep], max_epochs=2)
        estimate = ours.history[keep.kept[-1].epoch].estimates["xai/probe_accuracy"]
        assert (keep.kept[-1].accuracy, keep.kept[-1].accuracy_error) == (estimate.value, estimate.error)
        assert "xai/probe_accuracy" in keep.reason

    def test_one_that_is_logged_at_the_end_of_the_epoch(self, tmp_path):
        keep = keeping(tmp_path / "kept")
        run([watch((0.5, 0.1)), keep], (0.3, 0.9), hook="train")
        assert [round(one.accuracy, 3) for one in keep.kept] == [0.9]

    def test_several_could_be_meant(self):
        class Two(Net):
            def validation_step(self, batch, batch_idx):
                self.log("val_acc", 0.5)
                self.log("val_top2", 0.9)

            def training_step(self, batch, batch_idx):
                raise AssertionError

        with pytest.raises(MisconfigurationException, match="to name one of the logged metrics val_acc, val_top2"):
            train([watch([0.1]), keeping()], Two)

    @pytest.mark.parametrize(
        ("accuracies", "taken"), [((0.5,), "val_acc 0.5: the first"), ((), "xai/probe_accuracy 0.5: the first")]
    )
    def test_that_of_another_monitors_probe_is_not_meant(self, accuracies, taken, tmp_path):
        keep = keeping(tmp_path / "kept", margin=1.0)
        run([watch([0.1]), watch([0.1], prefix="other"), keep], accuracies)
        assert taken in keep.reason

    @pytest.mark.parametrize("sanity", [0, 2])
    def test_one_that_is_never_logged(self, sanity):
        with pytest.raises(
            MisconfigurationException, match=r"'val_accu'.*there are: .*val_acc.*Did you mean 'val_acc'\?"
        ):
            run([watch([0.1]), keeping(accuracy="val_accu", margin=0.1)], (0.5,), num_sanity_val_steps=sanity)

    def test_one_in_percent(self):
        with pytest.raises(
            MisconfigurationException, match=r"to be a share of images in \[0, 1\].*got 93.5: set `margin`"
        ):
            run([watch([0.1]), keeping()], (93.5,))

    def test_one_in_percent_with_a_margin(self, tmp_path):
        keep, _ = kept((0.5, 0.1), (93.5, 94.0), tmp_path / "kept", margin=1.0)
        assert Path(keep.best_model_path).name == "epoch=0.ckpt"

    def test_the_margin_is_required_where_it_is_no_accuracy(self):
        with pytest.raises(MisconfigurationException, match="Expected `margin` beside `accuracy='val_auroc'`"):
            keeping(accuracy="val_auroc")
        with pytest.raises(MisconfigurationException, match="Expected `accuracy_mode` beside `accuracy='val_loss'`"):
            keeping(accuracy="val_loss", margin=0.1)
        keeping(accuracy="val_auroc", margin=0.01)

    def test_images_are_counted_per_loader(self, tmp_path):
        class Two(graded([])):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                self.log("val_acc", 0.5, batch_size=len(batch[0]))

        keep = keeping(tmp_path / "a", monitor="xai/told/dataloader_idx_1", accuracy="val_acc/dataloader_idx_1")
        train([watch([0.1]), keep], Two, max_epochs=1, val_loader=[loader(10, seed=1), loader(6, seed=2)])
        assert keep.kept[0].accuracy_error == pytest.approx((0.25 / 6) ** 0.5)


class TestErrors:
    def test_no_monitor(self):
        with pytest.raises(MisconfigurationException, match="there is none: add ExplanationMonitor"):
            run([keeping()])

    def test_a_folder_where_the_key_belongs(self):
        with pytest.raises(MisconfigurationException, match=r"stand behind monitor='kept', but .* log 'xai/…'"):
            run([watch([0.1]), ExplanationCheckpoint("kept")])

    @pytest.mark.parametrize("first", [True, False])
    def test_an_unknown_key(self, first):
        ours, keep = watch([0.1]), keeping(monitor="xai/tolt")
        with pytest.raises(MisconfigurationException, match=r"Did you mean 'xai/told'\?"):
            run([ours, keep] if first else [keep, ours])

    def test_keys_of_two_monitors(self):
        keep = keeping(monitor=["xai/told", "other/told"], rule="pareto")
        with pytest.raises(MisconfigurationException, match="keys of one ExplanationMonitor"):
            run([watch([0.1]), watch([0.1], prefix="other"), keep])

    @pytest.mark.parametrize(
        ("settings", "error", "said"),
        [
            ({"rule": "best"}, ValueError, "`rule` to be one of 'best_explained', 'pareto'"),
            ({"max_kept": 0}, ValueError, "`max_kept` to be >= 1"),
            ({"margin": -0.1}, ValueError, "`margin` to be >= 0"),
            ({"monitor": ["a", "b"]}, ValueError, "one key with rule='best_explained'"),
            ({"monitor": []}, ValueError, "one key"),
            ({"mode": "best"}, ValueError, "`mode` to be one of"),
            ({"accuracy_mode": "best"}, ValueError, "`accuracy_mode` to be one of"),
        ],
    )
    def test_arguments(self, settings, error, said):
        with pytest.raises(error, match=said):
            keeping(**settings)

    def test_fast_dev_run_and_validate_write_nothing(self, tmp_path):
        keep = keeping(tmp_path / "kept")
        found = run([watch([0.1]), keep], (0.5,), fast_dev_run=2)
        assert files(tmp_path / "kept") == []
        trainer = L.Trainer(
            accelerator="cpu", logger=False, callbacks=[ExplanationMonitor(Constant(), reports=[]), keep]
        )
        trainer.validate(found.module, loader(6), verbose=False)
        assert files(tmp_path / "kept") == []


def test_the_page_shows_what_runs():
    page = (Path(__file__).parents[2] / "docs" / "stopping_and_choosing.md").read_text(encoding="utf-8")
    codes = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    found = []
    for code in codes:
        names = {}
        exec(code, names)
        found.append(names)
    names, _ = found
    assert [type(one).__name__ for one in names["callbacks"]] == [
        "ExplanationMonitor",
        "ExplanationEarlyStopping",
        "ExplanationCheckpoint",
    ]


class TestLeavesNoTrace:
    def test_weights_are_those_of_a_run_without_it(self, tmp_path):
        found = run([watch(SCORES), keeping(tmp_path / "kept", margin=0.05)], ACCURACIES)
        assert differing(found.state(), run([], ACCURACIES).state()) == []


def facts(folder, ours):
    """What a run decided and left: names, reasons, files, history."""
    watched, stop, keep = ours
    return {
        "best": Path(keep.best_model_path).name,
        "reason": keep.reason,
        "kept": [(one.epoch, one.step, one.accuracy) for one in keep.kept],
        "files": files(folder),
        "stopped": (stop.stopped_epoch, stop.stopping_reason_message),
        "history": [(row["epoch"], row["step"], row["xai/told"]) for row in watched.history],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The facts of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    ours = callbacks(folder / "kept")
    run(ours, ACCURACIES, default_root_dir=folder)
    return facts(folder / "kept", ours)


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """Where each killed run left its files."""
    folder = tmp_path_factory.mktemp("killed")
    killed(folder)
    return folder


class TestResume:
    def test_what_is_compared(self, whole):
        assert whole["best"] == "epoch=3.ckpt"
        assert whole["files"] == ["epoch=3.ckpt", "epoch=4.ckpt", "epoch=5.ckpt", "last.ckpt"]
        assert whole["stopped"][0] == 7

    @pytest.mark.parametrize(("moment", "resumed_from"), RUNS)
    @pytest.mark.filterwarnings("ignore:ExplanationCheckpoint goes on without files that are no longer there")
    def test_a_killed_run_goes_on_like_an_uninterrupted_one(self, moment, resumed_from, whole, left):
        folder = left / moment / resumed_from / "kept"
        ours = callbacks(folder)
        run(ours, ACCURACIES, ckpt_path=folder / resumed_from)
        assert facts(folder, ours) == whole

    def test_in_another_folder_the_earlier_files_stay_and_count(self, tmp_path):
        first = keeping(tmp_path / "one", margin=0.05, save_last=True)
        run([watch(SCORES), first], ACCURACIES, max_epochs=4)
        before = files(tmp_path / "one")
        again = keeping(tmp_path / "two", margin=0.05)
        run([watch(SCORES), again], ACCURACIES, ckpt_path=first.last_model_path)
        assert files(tmp_path / "one") == before
        assert files(tmp_path / "two") == ["epoch=4.ckpt", "epoch=5.ckpt"]
        assert again.best_model_path == str(tmp_path / "one" / "epoch=3.ckpt")

    def test_files_that_are_gone_are_dropped_with_a_warning(self, tmp_path):
        first = keeping(tmp_path / "kept", margin=0.05, save_last=True)
        run([watch(SCORES), first], ACCURACIES, max_epochs=4)
        (tmp_path / "kept" / "epoch=1.ckpt").unlink()
        again = keeping(tmp_path / "kept", margin=0.05)
        with pytest.warns(UserWarning, match="goes on without files that are no longer there: .*epoch=1.ckpt"):
            run([watch(SCORES), again], ACCURACIES, max_epochs=5, ckpt_path=first.last_model_path)
        assert Path(again.best_model_path).name == "epoch=2.ckpt"

    def test_files_of_another_run_are_not_written_over(self, tmp_path):
        run([watch([0.1]), keeping(tmp_path / "kept")], (0.5,))
        mark = (tmp_path / "kept" / "epoch=0.ckpt").read_bytes()
        again = keeping(tmp_path / "kept")
        run([watch([0.1]), again], (0.5,))
        assert (tmp_path / "kept" / "epoch=0.ckpt").read_bytes() == mark
        assert Path(again.best_model_path).name == "epoch=0-v1.ckpt"

    def test_a_name_without_the_epoch_gets_a_version_also_after_a_resume(self, tmp_path):
        first = keeping(tmp_path / "kept", margin=0.05, save_last=True, filename="same")
        run([watch(SCORES), first], ACCURACIES, max_epochs=4)
        assert files(tmp_path / "kept") == ["last.ckpt", "same-v1.ckpt", "same-v2.ckpt", "same.ckpt"]
        again = keeping(tmp_path / "kept", margin=0.05, filename="same")
        run([watch(SCORES), again], ACCURACIES, ckpt_path=first.last_model_path)
        held = {torch.load(one.path, weights_only=True)["epoch"] for one in again.kept}
        assert held == {one.epoch for one in again.kept} == {3, 4, 5}

    def test_a_new_probe_starts_a_new_front_and_leaves_files(self, tmp_path):
        first = keeping(tmp_path / "kept", margin=0.05, save_last=True)
        run([watch(SCORES), first], ACCURACIES, max_epochs=4)
        again = keeping(tmp_path / "kept", margin=0.05)
        with pytest.warns(UserWarning, match="did not find the images of the restored probe"):
            run(
                [watch(SCORES), again],
                ACCURACIES,
                max_epochs=5,
                ckpt_path=first.last_model_path,
                val_loader=loader(10, seed=7),
            )
        assert [one.epoch for one in again.kept] == [4]
        assert files(tmp_path / "kept") == [f"epoch={i}.ckpt" for i in (1, 2, 3, 4)] + ["last.ckpt"]

    def test_the_same_callback_in_a_second_fit_starts_afresh(self, tmp_path):
        keep, ours = keeping(tmp_path / "kept"), watch([0.1, 0.1])
        run([ours, keep], (0.9, 0.9))
        run([ours, keep], (0.5, 0.5))
        assert keep.kept[-1].accuracy == 0.5
        assert "epoch=0-v1.ckpt" in keep.best_model_path

    def test_the_same_trainer_goes_on(self, tmp_path):
        keep, ours = keeping(tmp_path / "kept", margin=0.05), watch(SCORES)
        found = run([ours, keep], ACCURACIES, max_epochs=4)
        found.trainer.fit_loop.max_epochs = 8
        found.trainer.fit(found.module, loader(), loader(10, seed=1))
        assert files(tmp_path / "kept") == ["epoch=3.ckpt", "epoch=4.ckpt", "epoch=5.ckpt"]

    def test_validate_and_test_with_an_earlier_checkpoint_leave_the_choice_alone(self, tmp_path):
        ours, keep = watch(SCORES), keeping(tmp_path / "kept", margin=0.05)
        stop, joint = stopping(patience=2), JointEarlyStopping({"val_acc": "max"}, patience=9)
        all_files = ModelCheckpoint(tmp_path / "all", save_top_k=-1, filename="{epoch}")
        found = run([ours, keep, stop, joint, all_files], ACCURACIES)
        before = copy.deepcopy([stop.state_dict(), joint.state_dict()])
        chosen = (keep.best_model_path, keep.best_model_score, keep.kept, keep.reason)
        assert stop.stopped_epoch > 0
        for verb in (found.trainer.validate, found.trainer.test):
            verb(found.module, loader(6), ckpt_path=tmp_path / "all" / "epoch=0.ckpt", verbose=False)
            assert (keep.best_model_path, keep.best_model_score, keep.kept, keep.reason) == chosen
            assert [stop.state_dict(), joint.state_dict()] == before

    def test_a_malformed_state_starts_afresh(self):
        keep = keeping()
        for state in ({}, {"candidates": [[1]]}, {"candidates": 3, "handled": None}):
            with pytest.warns(UserWarning, match="starts afresh"):
                keep.load_state_dict(state)
        assert keep.kept == ()

    @pytest.mark.parametrize("twin", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies(self, twin, tmp_path):
        keep = twin(keeping(tmp_path / "kept", margin=0.05))
        run([watch(SCORES), keep], ACCURACIES)
        assert Path(keep.best_model_path).name == "epoch=3.ckpt"


@pytest.mark.parametrize(("length", "world"), [(5, 2), (6, 2), (9, 8), (3, 8), (10, 1)])
def test_images_that_a_distributed_sampler_repeats_count_once(length, world):
    """Over all processes, the images are as many as there are, for the standard error of the accuracy."""
    counts, seen = [], 0
    for rank in range(world):
        sampler = DistributedSampler(torch.arange(length), world, rank, shuffle=False)
        loaders = {"plain": DataLoader(torch.arange(4)), "shared": DataLoader(torch.arange(length), sampler=sampler)}
        seen += len(sampler)
        counts.append(without_repeats({0: 4, 1: len(sampler)}, list(each_loader(loaders))))
        assert without_repeats({1: 0}, list(each_loader(loaders))) == {1: 0}
    assert sum(one[1] for one in counts) == length
    assert seen == -(-length // world) * world  # control
    assert all(one[0] == 4 for one in counts)
