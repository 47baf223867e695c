"""What `max_overhead` chooses from measured times, on a clock of the test's own."""

import re

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_xai import ExplanationMonitor
from lightning_xai.metrics import AvgSensitivity, HeatmapDrift, InsertionDeletion
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.reports import Report
from tests.callbacks._clock import Clock
from tests.callbacks._runs import Attendance, Constant, Moody, differing, loader, monitor, train
from tests.callbacks.test_schedule import stream

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:Checkpoint directory")

LOOKS = 3  # of the explainer at each image: once to explain it, twice to see whether noise changes that


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    return Clock().started(monkeypatch)


def metrics():
    # noise is a share of the range of the explained images: of other images it would be another
    return [InsertionDeletion(num_steps=4), AvgSensitivity(num_samples=2), HeatmapDrift()]


def budgeted(clock, per_image, max_overhead=0.05, **settings):
    """Return a monitor whose every image takes so many seconds."""
    given = {"num_images": 32, "max_overhead": max_overhead, **settings}
    return monitor(clock.explainer(per_image / LOOKS), metrics(), **given)


def fit(clock, *callbacks, **settings):
    """Train epochs of four batches, each of ten seconds."""
    given = {"val_loader": loader(40, seed=1), "train_loader": loader(), **settings}
    return train([*callbacks, clock.training(10.0)], **given)


def values(history):
    """Every number about every image, and every value that is no time."""
    rows = []
    for epoch in history:
        per_image = {
            (i, name, metric): by_metric[metric]
            for i, found in epoch.loaders.items()
            for name, by_metric in {**found.rows, "control": found.control_rows}.items()
            for metric in by_metric
        }
        keys = {i: found.keys for i, found in epoch.loaders.items()}
        logged = {name: value for name, value in epoch.items() if not name.startswith(("xai/seconds", "xai/overhead"))}
        rows.append((keys, per_image, logged))
    return rows


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(values(found), values(expected), strict=True):
        for part, wanted in zip(one[:2], other[:2], strict=True):
            assert part.keys() == wanted.keys()
            assert all(torch.equal(part[key].nan_to_num(9.0), wanted[key].nan_to_num(9.0)) for key in part)
        assert one[2] == other[2]


def fixed_settings(text):
    """Return what the monitor printed to be set instead of the budget."""
    (said,) = set(re.findall(r"without it, ExplanationMonitor\((.*?)\) gives the same values", text))
    return {name: int(number) for name, number in (one.split("=") for one in said.split(", "))}


def overheads(ours):
    return [epoch["xai/overhead"] for epoch in ours.history]


class TestTheFixedSettingsGiveTheSame:
    # 40 s of training leave 2.105 s for explaining
    @pytest.mark.parametrize(
        ("per_image", "settings", "expected"),
        [
            (0.15, {}, Effort(14)),
            (0.01, {}, Effort(32)),
            (0.3, {}, Effort(8, 2)),
            (0.6, {"num_images": 5}, Effort(5, 2)),
            (0.3, {"every_n_epochs": 2}, Effort(14, 2)),
            (0.8, {"every_n_epochs": 2}, Effort(8, 4)),
            (0.6, {"every_n_steps": 6}, Effort(8, 1, 10)),
        ],
    )
    def test_rows_are_equal(self, clock, caplog, per_image, settings, expected):
        ours = budgeted(clock, per_image, **settings)
        with caplog.at_level("INFO"):
            run = fit(clock, ours, max_epochs=4)
        assert ours.effort == expected
        fixed = monitor(clock.explainer(0.0), metrics(), **fixed_settings(caplog.text))
        again = fit(clock, fixed, max_epochs=4)
        assert_equal(ours.history, fixed.history)
        probes = [one._runs["fit"].probes[0] for one in (ours, fixed)]
        assert probes[0].identities == probes[1].identities
        assert probes[0].value_range == probes[1].value_range
        assert differing(run.state(), again.state()) == []
        assert "xai/overhead" not in fixed.history[0]

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            # validated after 10, 20 … s, explained once in 40
            ({"val_check_interval": 0.25}, Effort(14)),
            ({"check_val_every_n_epoch": 2}, Effort(28)),
            ({"accumulate_grad_batches": 2}, Effort(14)),
        ],
    )
    def test_other_rhythms_of_validation(self, clock, settings, expected):
        ours = budgeted(clock, 0.15)
        fit(clock, ours, max_epochs=4, **settings)
        assert ours.effort == expected
        fixed = monitor(clock.explainer(0.0), metrics(), **vars(ours.effort))
        fit(clock, fixed, max_epochs=4, **settings)
        assert_equal(ours.history, fixed.history)

    @pytest.mark.parametrize(("per_image", "expected"), [(0.1, Effort(10)), (0.5, Effort(8, 1, 8))])
    def test_epochs_of_unknown_length(self, clock, per_image, expected):
        settings = {"train_loader": stream(None), "max_steps": 10, "max_epochs": -1, "val_check_interval": 2}
        ours = budgeted(clock, per_image)
        fit(clock, ours, **settings)
        assert ours.effort == expected
        assert len(ours.history) == {1: 5, 8: 2}[ours.effort.every_n_steps or 1]
        fixed = monitor(clock.explainer(0.0), metrics(), **vars(ours.effort))
        fit(clock, fixed, **settings)
        assert_equal(ours.history, fixed.history)

    def test_several_loaders(self, clock):
        val = [loader(40, seed=1), loader(6, seed=2)]
        ours = budgeted(clock, 0.15)
        fit(clock, ours, val_loader=val)
        assert ours.effort == Effort(8)  # 8 and 6, of which 14 fit
        fixed = monitor(clock.explainer(0.0), metrics(), num_images=8)
        fit(clock, fixed, val_loader=val)
        assert_equal(ours.history, fixed.history)
        assert [len(found) for found in ours.history[0].loaders.values()] == [8, 6]
        assert ours.history[1]["xai/overhead/dataloader_idx_0"] == ours.history[1]["xai/overhead/dataloader_idx_1"]


class TestWhatIsSaid:
    def test_choice_times_and_errors(self, clock, caplog):
        ours = budgeted(clock, 0.15)
        with caplog.at_level("INFO"):
            fit(clock, ours)
        (said,) = [one.message for one in caplog.records if "max_overhead" in one.message]
        error = ours.history[0]["xai/faithfulness_gain_se"]
        assert said == (
            "ExplanationMonitor(max_overhead=0.05) explains num_images=14, every_n_epochs=1 from now on; without it, "
            "ExplanationMonitor(num_images=14, every_n_epochs=1) gives the same values. Of the first explanation: an "
            "image takes 0.15 s to explain, an epoch without explaining 40 s. The error left in xai/faithfulness_gain "
            f"is ±{error:.2g}, where all 32 images would leave ±{error * (14 / 32) ** 0.5:.2g}."
        )
        assert "of this epoch so far" not in caplog.text

    def test_the_share_of_an_epoch_without_a_budget(self, clock, caplog):
        with caplog.at_level("INFO"):
            fit(clock, monitor(clock.explainer(0.5), [HeatmapDrift()], num_images=20))
        assert "ExplanationMonitor took 10.0 s, 20% of this epoch so far." in caplog.text

    def test_a_share_that_leaves_nothing(self, clock):
        ours = budgeted(clock, 20.0)
        with pytest.warns(UserWarning, match="explaining 8 images takes as long as 76 epochs leave: ask for fewer"):
            fit(clock, ours, max_epochs=2)
        assert len(ours.history) == 1

    def test_who_counts_validations_learns_of_a_longer_interval(self, clock):
        stop = EarlyStopping("xai/faithfulness", mode="max", patience=9)
        with pytest.warns(UserWarning, match="set patience=36 for 9 explained epochs"):
            fit(clock, budgeted(clock, 1.0), stop)


class TestOverhead:
    def test_it_is_the_share_of_the_time_so_far(self, clock):
        ours = budgeted(clock, 0.15)
        fit(clock, ours, max_epochs=4)
        # 8 images to measure, then 14 in every epoch
        spent = [0.15 * (8 + 14 * epoch) for epoch in (1, 2, 3, 4)]
        assert overheads(ours) == pytest.approx([s / (s + 40 * (e + 1)) for e, s in enumerate(spent)])

    def test_images_that_were_measured_are_not_explained_again(self, clock):
        ours = budgeted(clock, 1.0)
        fit(clock, ours, max_epochs=8)
        spent = [8.0, 16.0, 24.0]
        assert [epoch["epoch"] for epoch in ours.history] == [0, 3, 7]
        assert overheads(ours) == pytest.approx([s / (s + 40 * n) for s, n in zip(spent, (1, 4, 8), strict=True)])
        assert overheads(ours)[-1] == pytest.approx(24 / 344)  # the first explanation comes early

    def test_reports_are_part_of_it(self, clock):
        class Slow(Report):
            def publish(self, epoch, run):
                clock.now += 20.0

            reads_logged = True
            end_validation = publish

        ours = budgeted(clock, 0.01, reports=[Slow()])
        fit(clock, ours)
        spent = 0.01 * (8 + 32 + 32) + 20.0 + 20.0
        assert overheads(ours)[1] == pytest.approx(spent / (80 + spent))

    def test_it_is_promised_and_monitored(self, clock, tmp_path):
        attendance = Attendance()
        ours = monitor(Moody(lambda epoch: "raises" if epoch == 0 else ""), num_images=20, max_overhead=0.05)
        stop = EarlyStopping("xai/overhead", mode="min", patience=9)
        keep = ModelCheckpoint(tmp_path / "best", monitor="xai/overhead", mode="min")
        with pytest.warns(UserWarning, match="logs nothing for epoch 0"):
            fit(clock, ours, stop, keep, attendance, max_epochs=3)
        seen = [values["xai/overhead"] for _, values in attendance.seen]
        assert seen == pytest.approx([1.0, *overheads(ours)])
        assert all(0.0 <= one < 1.0 for one in overheads(ours))

    def test_other_stages_have_neither_share_nor_budget(self, clock):
        ours = budgeted(clock, 0.15)
        run = fit(clock, ours)
        for verb in ("validate", "test"):
            getattr(run.trainer, verb)(run.module, loader(40, seed=1), verbose=False)
            assert len(ours.latest.loaders[0]) == 32
            assert not any("overhead" in key for key in ours.latest)
        assert ours.effort == Effort(14)

    def test_without_a_budget_there_is_none(self, clock):
        ours = monitor(clock.explainer(1.0), [HeatmapDrift()], num_images=20)
        fit(clock, ours, max_epochs=1)
        assert clock.now == 1000.0 + 40.0 + 20.0  # no image is explained to be timed
        assert not any("overhead" in key for key in ours.history[0])
        assert ours.effort == Effort(20)
        assert ours.state_dict()["choice"] is None


class TestErrors:
    def test_what_fails_is_measured_in_the_next_validation(self, clock):
        looks = []

        def explain(classifier, images):
            if not classifier.model.trainer.sanity_checking:
                looks.append(len(images))
                clock.now += 0.15 * len(images)
                if len(looks) == 1:
                    raise RuntimeError("no heatmap today")

        ours = monitor(Constant(explain), [InsertionDeletion(num_steps=4)], num_images=32, max_overhead=0.05)
        with pytest.warns(UserWarning, match="no heatmap today"):
            fit(clock, ours, max_epochs=3)
        assert looks[:2] == [8, 8]
        assert sum(looks) == 8 + 8 + 14 + 14
        assert [epoch["epoch"] for epoch in ours.history] == [1, 2]
        assert ours.effort == Effort(14)

    def test_a_loader_without_images(self, clock):
        class Nothing(torch.utils.data.IterableDataset):
            def __iter__(self):
                return iter(())

        ours = budgeted(clock, 0.15)
        fit(clock, ours, val_loader=torch.utils.data.DataLoader(Nothing()), max_epochs=1)
        assert ours.effort == Effort(32)

    @pytest.mark.parametrize(
        ("value", "kind", "text"),
        [
            (0, ValueError, "Expected `max_overhead` to be > 0.0, but got 0"),
            (
                1.0,
                ValueError,
                "Expected `max_overhead` to be a share of a fit's time below 1, such as 0.05, but got 1.0",
            ),
            (5, ValueError, "below 1"),
            (float("nan"), ValueError, "max_overhead"),
            ("5%", TypeError, "Expected `max_overhead` to be a number, but got str"),
        ],
    )
    def test_settings(self, value, kind, text):
        with pytest.raises(kind, match=text):
            ExplanationMonitor(max_overhead=value)


class Saves(L.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.save_checkpoint("saved.ckpt", weights_only=False)


class TestResume:
    def resumed(self, clock, per_image=0.15, again=None, **settings):
        """Return a whole run, and one that goes on after two epochs, at another speed."""
        whole = budgeted(clock, per_image)
        fit(clock, whole, max_epochs=4)
        fit(clock, budgeted(clock, per_image), Saves(), max_epochs=2)
        again = budgeted(clock, 0.002, **settings) if again is None else again
        fit(clock, again, max_epochs=4, ckpt_path="saved.ckpt")
        return whole, again

    def test_it_keeps_the_choice(self, clock, caplog):
        with caplog.at_level("INFO"):
            whole, again = self.resumed(clock)
        assert again.effort == whole.effort == Effort(14)
        assert_equal(again.history, whole.history)
        assert caplog.text.count("from now on") == 2  # by the two that began

    def test_it_keeps_the_interval(self, clock):
        whole, again = self.resumed(clock, 0.3)
        assert again.effort == whole.effort == Effort(8, 2)
        # a resumed fit explains its first validation whatever comes
        assert [row["epoch"] for row in whole.history] == [0, 1, 3]
        assert [row["epoch"] for row in again.history] == [0, 1, 2, 3]

    def test_the_share_goes_on(self, clock):
        whole, again = self.resumed(clock, again=budgeted(clock, 0.15))
        assert overheads(again) == pytest.approx(overheads(whole))

    def test_another_budget_is_chosen_anew(self, clock):
        with pytest.warns(
            UserWarning, match=r"chooses anew what max_overhead=0.1 allows.*had max_overhead=0.05 and at "
        ):
            _, again = self.resumed(clock, again=budgeted(clock, 0.15, 0.1))
        assert again.effort == Effort(29)
        assert [len(epoch.loaders[0]) for epoch in again.history] == [14, 14, 29, 29]

    def test_the_fixed_settings_go_on_as_well(self, clock):
        whole, again = self.resumed(clock, again=monitor(clock.explainer(0.0), metrics(), num_images=14))
        drifts = [epoch["xai/heatmap_drift"] for epoch in whole.history[1:]]
        assert [epoch["xai/heatmap_drift"] for epoch in again.history[1:]] == drifts

    def test_a_run_that_had_no_budget_gets_one(self, clock):
        fit(clock, monitor(clock.explainer(0.0), metrics(), num_images=32), Saves(), max_epochs=2)
        again = budgeted(clock, 0.15)
        fit(clock, again, max_epochs=4, ckpt_path="saved.ckpt")
        assert again.effort == Effort(14)
        first, *_, last = again.history
        assert [len(epoch.loaders[0]) for epoch in again.history] == [32, 32, 14, 14]
        assert torch.equal(last.loaders[0].keys, first.loaders[0].keys[:14])
        assert all("xai/heatmap_drift" in epoch for epoch in again.history[1:])

    @pytest.mark.parametrize(
        "broken",
        [
            {"choice": {"max_overhead": 0.05}},
            {"choice": 3},
            {"time": {"elapsed": float("inf")}},
        ],
    )
    def test_a_state_that_cannot_be_read(self, clock, broken):
        ours = budgeted(clock, 0.15)
        fit(clock, ours, max_epochs=1)
        again = budgeted(clock, 0.15)
        with pytest.warns(UserWarning, match="starts afresh"):
            again.load_state_dict({**ours.state_dict(), **broken})
        assert again.effort == Effort(32)
