"""Accuracy tied to explanation scores: real tiny fits, what loggers got of them, the table, and what goes wrong."""

from __future__ import annotations

import re
import warnings

import lightning as L
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from scipy.stats import spearmanr
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.nn import functional as F

from lightning_xai.metrics import InsertionDeletion, Sparseness
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.alignment import Alignment, Point
from lightning_xai.reports import AccuracyAlignment, Scalars
from lightning_xai.reports.alignment_table import table_of
from tests.callbacks._runs import Net, Steps, differing, loader, monitor, train

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:Checkpoint directory")
GAIN = "xai/faithfulness_gain"


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class LogsAccuracy(Steps):
    """Logs an accuracy that is known only at the end of the validation, and that of the training."""

    def training_step(self, batch, batch_idx):
        logits = self(batch[0])
        self.log("train_acc", (logits.argmax(1) == batch[1]).float().mean(), on_step=False, on_epoch=True)
        return F.cross_entropy(logits, batch[1])

    def on_validation_epoch_start(self):
        self.right = []

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.right += (logits.argmax(1) == batch[1]).tolist()

    def on_validation_epoch_end(self):
        accuracy = sum(self.right) / len(self.right) + 0.01 * self.current_epoch
        self.accuracies = [*getattr(self, "accuracies", []), accuracy]
        self.log("val_acc", accuracy)


class Accurate(LogsAccuracy, L.LightningModule):
    """Of `lightning`."""


class AccurateToo(LogsAccuracy, pytorch_lightning.LightningModule):
    """Of `pytorch_lightning`."""


def watching(*reports, metrics=None, **settings):
    metrics = [InsertionDeletion(num_steps=3)] if metrics is None else metrics
    return monitor(metrics=metrics, reports=[Scalars(), *(reports or [AccuracyAlignment()])], **settings)


def points_of(ours, report=None):
    """Accuracy and score by epoch, from what the monitor holds."""
    from lightning_xai.callbacks.steps.telling import Telling

    told = Telling((), ours.keys).run_for_reports(None, ours._runs["fit"])
    return {one.score: one for one in (report or AccuracyAlignment()).alignments(told)}


def accuracies(alignment):
    return [one.accuracy for one in alignment.points]


def test_each_epoch_has_the_accuracy_of_its_own_validation():
    ours = watching()
    run = train([ours], Accurate, max_epochs=5)
    (found,) = points_of(ours).values()
    assert (found.accuracy, found.score, found.num_explained) == ("val_acc", GAIN, 5)
    sanity = len(run.module.accuracies) - 5
    assert accuracies(found) == pytest.approx(run.module.accuracies[sanity:], abs=1e-6)
    assert len(set(accuracies(found))) > 1
    assert [one.score.value for one in found.points] == [epoch[GAIN] for epoch in ours.history]
    assert [one.epoch for one in found.points] == list(range(5))


@pytest.mark.parametrize("every", [{"every_n_epochs": 2}, {"every_n_steps": 5}])
def test_only_explained_epochs_count(every):
    ours = watching(**every)
    run = train([ours], Accurate, max_epochs=6, num_sanity_val_steps=0)
    (found,) = points_of(ours).values()
    epochs = [one.epoch for one in found.points]
    assert 1 < len(epochs) < 6
    assert accuracies(found) == pytest.approx([run.module.accuracies[epoch] for epoch in epochs], abs=1e-6)


def test_training_is_what_it_is_without():
    expected = train([], Accurate, max_epochs=2).state()
    assert differing(train([watching()], Accurate, max_epochs=2).state(), expected) == []


@pytest.fixture(scope="module")
def in_tensorboard(tmp_path_factory):
    """A monitor, and the folder that TensorBoard reads of its fit."""
    ours = watching()
    logger = TensorBoardLogger(tmp_path_factory.mktemp("tensorboard"), name="run")
    train([ours], Accurate, max_epochs=5, logger=logger)
    return ours, logger.log_dir


class TestTensorBoard:
    def test_the_picture_is_there_at_the_step_of_the_last_scalars(self, in_tensorboard):
        ours, folder = in_tensorboard
        events = EventAccumulator(folder, size_guidance={"images": 0, "scalars": 0}).Reload()
        (image,) = events.Images("xai/accuracy_alignment/faithfulness_gain")
        assert image.step == events.Scalars("val_acc")[-1].step == ours.history[-1]["step"]
        assert (image.width, image.height) == (1008, 396)

    def test_both_curves_are_in_one_chart(self, in_tensorboard):
        _, folder = in_tensorboard
        events = EventAccumulator(f"{folder}/xai_charts").Reload()
        content = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
        layout = layout_pb2.Layout.FromString(content)
        (chart,) = layout.category[0].chart
        assert (layout.category[0].title, chart.title) == ("xai", GAIN)
        tags = EventAccumulator(folder).Reload().Tags()["scalars"]
        assert [[tag for tag in tags if re.match(one, tag)] for one in chart.multiline.tag] == [["val_acc"], [GAIN]]

    def test_the_users_own_layout_stays(self, in_tensorboard):
        _, folder = in_tensorboard
        assert "custom_scalars__config__" not in EventAccumulator(folder).Reload().Tags()["tensors"]


def test_without_a_logger_the_picture_is_a_file(tmp_path):
    train([watching(private=True)], Accurate, max_epochs=2)
    (path,) = tmp_path.rglob("*.png")
    assert str(path.relative_to(tmp_path)) == "xai/accuracy_alignment/faithfulness_gain/epoch=0001-step=00000007.png"
    assert Image.open(path).size == (1008, 396)


def test_a_resumed_run_has_the_accuracies_of_before():
    whole = watching()
    in_order = loader()
    train([whole], Accurate, max_epochs=5, train_loader=in_order)
    train([watching(), ModelCheckpoint("saved", filename="saved")], Accurate, max_epochs=3, train_loader=in_order)
    again = watching()
    train([again], Accurate, max_epochs=5, train_loader=in_order, ckpt_path="saved/saved.ckpt")
    (expected,), (found,) = points_of(whole).values(), points_of(again).values()
    assert len(found.points) == 5
    assert accuracies(found) == accuracies(expected)


def test_epochs_of_before_that_noted_none_are_counted_and_said(capsys):
    first = watching()
    train([first], Accurate, max_epochs=3)
    state = first.state_dict()
    del state["logged"]  # as an older checkpoint's
    again = watching()
    again.load_state_dict(state)
    (found,) = points_of(again).values()
    assert (found.accuracy, len(found.points)) == ("xai/probe_accuracy", 3)
    again._runs["fit"].logged.by_moment[2, first.history[-1]["step"]] = {"val_acc": 0.5}
    (found,) = points_of(again).values()
    assert (found.accuracy, len(found.points), found.num_explained) == ("val_acc", 1, 3)
    assert "1 of 3" in printed([found], capsys)


class TestWhichAccuracy:
    def test_the_probes_where_none_is_logged(self):
        ours = watching()
        train([ours], max_epochs=2)
        (found,) = points_of(ours).values()
        assert found.accuracy == "xai/probe_accuracy"
        assert accuracies(found) == [epoch["xai/probe_accuracy"] for epoch in ours.history]

    def test_the_shortest_name_of_several_and_the_table_says_so(self, capsys):
        class Two(Accurate):
            def on_validation_epoch_end(self):
                super().on_validation_epoch_end()
                self.log("val_acc_top5", 1.0)
                self.log("val_balanced_accuracy", 0.5)

        train([watching()], Two, max_epochs=4)
        said = " ".join(capsys.readouterr().out.split())
        assert "│ val_acc │" in said
        assert "AccuracyAlignment(monitor=...) can name another accuracy: val_acc_top5, val_balanced_accuracy." in said

    def test_a_loss_by_name_with_its_direction(self):
        report = AccuracyAlignment(monitor="val_loss", mode="min")
        ours = watching(report)
        run = train([ours], Accurate, max_epochs=4)
        (found,) = points_of(ours, report).values()
        assert accuracies(found)[-1] == pytest.approx(float(run.trainer.callback_metrics["val_loss"]))
        lowest = min(found.points, key=lambda one: one.accuracy)
        assert lowest in found.front()

    def test_each_loader_has_its_own(self):
        class PerLoader(Net):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                self.log("val_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean() / (1 + dataloader_idx))

        ours = watching()
        run = train([ours], PerLoader, max_epochs=2, val_loader=[loader(10, seed=1), loader(10, seed=1)])
        found = points_of(ours)
        assert list(found) == [f"{GAIN}/dataloader_idx_{index}" for index in (0, 1)]
        for index, one in enumerate(found.values()):
            assert one.accuracy == f"val_acc/dataloader_idx_{index}"
            assert accuracies(one)[-1] == pytest.approx(float(run.trainer.callback_metrics[one.accuracy]))
        first, second = (accuracies(one) for one in found.values())
        assert first == pytest.approx([2 * value for value in second])

    @pytest.mark.parametrize("name", ["train_acc", "val_ac", "xai/probe_acuracy"])
    def test_a_metric_that_the_validation_does_not_log_is_said_once(self, name, capsys):
        ours = watching(AccuracyAlignment(monitor=name))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train([ours], Accurate, max_epochs=4)
        said = [str(one.message) for one in caught if "AccuracyAlignment" in str(one.message)]
        assert len(said) == 1
        assert f"to name a metric that the validation logs, but got {name!r}, and there are: " in said[0]
        assert "0 of 4" in capsys.readouterr().out
        assert len(ours.history) == 4


class TestWhichScores:
    def test_a_row_per_explainer_and_score(self):
        ours = watching(explainers=["grad_cam", "center_heatmap"])
        train([ours], Accurate, max_epochs=2)
        assert list(points_of(ours)) == ["xai/grad_cam/faithfulness_gain", "xai/center_heatmap/faithfulness_gain"]

    def test_named_ones(self):
        report = AccuracyAlignment(scores=["faithfulness", "probe_confidence"])
        ours = watching(report, explainers=["grad_cam", "center_heatmap"])
        train([ours], Accurate, max_epochs=2)
        found = points_of(ours, report)
        assert set(found) == {"xai/grad_cam/faithfulness", "xai/center_heatmap/faithfulness", "xai/probe_confidence"}
        assert found["xai/probe_confidence"].front() == []  # it has no direction

    def test_others_where_no_headline_is_logged(self):
        ours = watching(metrics=[Sparseness()])
        train([ours], Accurate, max_epochs=2)
        assert list(points_of(ours)) == ["xai/sparseness"]


class TestTable:
    def test_numbers_of_a_fit(self, capsys):
        ours = watching()
        train([ours], Accurate, max_epochs=6)
        (found,) = points_of(ours).values()
        rho = spearmanr(accuracies(found), [one.score.value for one in found.points]).statistic
        (row,) = (line for line in capsys.readouterr().out.splitlines() if GAIN in line)
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert cells[:4] == [GAIN, "val_acc", "6", f"{rho:.2f}"]
        assert cells[6] == ", ".join(str(one.epoch) for one in found.front())

    def test_fewer_than_four_epochs_have_no_number(self, capsys):
        points = [Point(epoch, epoch, 0.1 * epoch, Estimate(0.1 * epoch)) for epoch in range(3)]
        text = printed([Alignment("val_acc", GAIN, points, num_explained=3)], capsys)
        (row,) = (line for line in text.splitlines() if GAIN in line)
        assert [cell.strip() for cell in row.split("│")][3:7] == ["3", "-", "needs 4 explained epochs", "-"]

    def test_long_names_are_not_cut(self, capsys):
        alignments = [
            Alignment("val_acc", f"xai/{'very_' * 8}{one}", [], num_explained=0) for one in ("first", "second")
        ]
        cells = [line.split("│")[1].strip() for line in printed(alignments, capsys, 70).splitlines() if "│" in line]
        assert "".join(cells) == "".join(one.score for one in alignments)

    def test_a_constant_has_none(self, capsys):
        points = [Point(epoch, epoch, 1.0, Estimate(0.1 * epoch)) for epoch in range(5)]
        assert "one of them is constant" in printed([Alignment("val_acc", GAIN, points, num_explained=5)], capsys)

    def test_a_long_front_is_cut_and_names_are_no_markup(self, capsys):
        points = [Point(epoch, epoch, 0.1 * epoch, Estimate(-0.1 * epoch)) for epoch in range(12)]
        text = printed([Alignment("val[red]acc", GAIN, points, num_explained=12)], capsys)
        assert "4, 5, 6, 7, 8, 9, 10, 11 and 4 more" in text
        assert "val[red]acc" in text

    @pytest.mark.parametrize("epochs", [1, 2])
    def test_a_single_epoch_ties_nothing(self, epochs, capsys, tmp_path):
        train([watching()], Accurate, max_epochs=epochs, default_root_dir=tmp_path)
        pictures = list(tmp_path.rglob("accuracy_alignment/**/*.png"))
        assert bool(pictures) == (epochs > 1)
        assert "Spearman" not in capsys.readouterr().out  # nor do three have a number

    @pytest.mark.parametrize("settings", [{"table": False}, {}])
    def test_can_be_left_out(self, settings, capsys):
        train([watching(AccuracyAlignment(**settings))], Accurate, max_epochs=4)
        assert ("Accuracy and explanation quality" in capsys.readouterr().out) == (not settings)


def printed(alignments, capsys, width=160):
    from rich.console import Console

    Console(width=width).print(table_of(alignments))
    return capsys.readouterr().out


class TestWhatGoesWrong:
    @pytest.mark.parametrize("scores", ["faithfulnes_gain", ["faithfulness_gain", "accuracy"], "grad_cam/faithfulness"])
    def test_unknown_scores_end_before_anything_runs(self, scores):
        with pytest.raises(ValueError, match=r"Expected `scores` to be one of .*faithfulness_gain"):
            watching(AccuracyAlignment(scores=scores))

    @pytest.mark.parametrize("settings", [{"monitor": "val_loss"}, {"monitor": "Loss/val"}, {"mode": "best"}])
    def test_wrong_settings(self, settings):
        with pytest.raises(ValueError, match="Expected `mode`"):
            AccuracyAlignment(**settings)

    def test_a_picture_that_fails_is_said_and_the_fit_ends_well(self, monkeypatch):
        def fails(*args, **settings):
            raise OSError("disk full")

        monkeypatch.setattr("lightning_xai.reports.accuracy_alignment.log_picture", fails)
        ours = watching()
        with pytest.warns(UserWarning, match="AccuracyAlignment could not tell the fit: OSError: disk full"):
            train([ours], Accurate, max_epochs=2)
        assert len(ours.history) == 2

    def test_an_interrupted_fit_is_told(self, capsys):
        class Impatient(Accurate):
            def on_train_epoch_start(self):
                if self.current_epoch == 4:
                    raise KeyboardInterrupt

        with pytest.raises(SystemExit):
            train([watching()], Impatient, max_epochs=6)
        assert "│      4 │" in capsys.readouterr().out

    def test_a_fit_that_fails_is_not(self, capsys):
        class Fails(Accurate):
            def on_train_epoch_start(self):
                if self.current_epoch == 2:
                    raise RuntimeError

        with pytest.raises(RuntimeError):
            train([watching()], Fails, max_epochs=5)
        assert "explanation quality" not in capsys.readouterr().out

    def test_one_try_and_other_stages_are_not_told(self, capsys, tmp_path):
        train([watching()], Accurate, fast_dev_run=True)
        ours = watching(AccuracyAlignment(table=False))
        run = train([ours], Accurate, max_epochs=2)
        capsys.readouterr()
        pictures = len(list(tmp_path.rglob("*.png")))
        run.trainer.validate(run.module, loader(10, seed=1), verbose=False)
        assert "explanation quality" not in capsys.readouterr().out
        assert len(list(tmp_path.rglob("*.png"))) == pictures == 1

    def test_without_explanations_there_is_nothing(self, capsys):
        with pytest.warns(UserWarning, match="explains nothing"):
            train([watching()], Accurate, max_epochs=1, limit_val_batches=0)
        assert "explanation quality" not in capsys.readouterr().out


def test_labels_without_an_accuracy(capsys):
    """Images without labels: neither the user nor the probe knows an accuracy."""

    class Unlabelled(Net):
        def training_step(self, batch, batch_idx):
            return self(batch).square().mean()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self(batch).square().mean())

    images = torch.utils.data.DataLoader(torch.rand(8, 1, 8, 8), 4)
    train([watching(target="predicted")], Unlabelled, max_epochs=4, train_loader=images, val_loader=images)
    assert "0 of 4" in capsys.readouterr().out


def test_in_the_other_lightning(capsys):
    ours = watching()
    run = train([ours], AccurateToo, max_epochs=4, package=pytorch_lightning)
    (found,) = points_of(ours).values()
    assert accuracies(found) == pytest.approx(run.module.accuracies[-4:], abs=1e-6)
    assert "│ val_acc │" in " ".join(capsys.readouterr().out.split())
