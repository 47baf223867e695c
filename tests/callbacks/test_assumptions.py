"""The user's own accuracy is the last sign that something else is explained than what is validated."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_xai import ExplanationMonitor
from lightning_xai.callbacks.steps.assumptions import is_top_1_accuracy, plausible_accuracies, warn_of_accuracy
from tests.callbacks._tiny import Module, Squares, fit, trainer_of


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def monitor(**settings):
    return ExplanationMonitor("center_heatmap", "sparseness", **{"num_images": 32, "reports": (), **settings})


class Says(Module):
    """Logs an accuracy under a name, whatever it is in truth."""

    def __init__(self, accuracy, name="val_acc", late=False, **settings):
        super().__init__(**settings)
        self.accuracy, self.name, self.late = accuracy, name, late

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        logits = self(batch[0])
        truth = (logits.argmax(1) == batch[1]).float().mean() if logits.shape[1] > 1 else torch.tensor(0.5)
        self.value = truth if self.accuracy is None else torch.tensor(self.accuracy)
        if not self.late:
            self.log(self.name, self.value, batch_size=len(batch[1]))

    def on_validation_epoch_end(self):
        if self.late:
            self.log(self.name, self.value)

    test_step = validation_step


def said(module, data=None, stage=None, **settings):
    """Return what is said about the accuracy of a fit over three epochs, or of a stage."""
    data, ours = Squares(60) if data is None else data, monitor(**settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.manual_seed(0)
        if stage is None:
            fit(ours, module=module, val=data.loader(), max_epochs=3)
        else:
            getattr(trainer_of(ours), stage)(module, data.loader(), verbose=False)
    return [str(one.message) for one in caught if "classified rightly" in str(one.message)]


class TestInARun:
    @pytest.mark.parametrize("late", [False, True])
    def test_a_far_accuracy_is_said_once(self, late):
        (text,) = said(Says(1.0, late=late))
        assert "of its 32 images classified rightly, but 'val_acc' is 1: by chance" in text
        assert "Readout(forward=)" in text

    @pytest.mark.parametrize(("name", "stage"), [("val_acc", "validate"), ("test/accuracy", "test")])
    def test_in_every_stage(self, name, stage):
        assert len(said(Says(1.0, name), stage=stage)) == 1

    def test_percent(self):
        assert len(said(Says(99.0))) == 1
        assert said(Says(33.0)) == []

    @pytest.mark.parametrize("late", [False, True])
    def test_the_true_one_is_not(self, late):
        assert said(Says(None, late=late)) == []

    @pytest.mark.parametrize("name", ["val_loss", "train_acc", "acc", "val_top5_acc", "val_f1", "val_acc_step"])
    def test_other_names_are_not(self, name):
        assert said(Says(1.0, name)) == []

    def test_a_small_probe_knows_too_little(self):
        assert said(Says(1.0), num_images=3) == []

    def test_an_unbalanced_validation(self):
        """A model that says one class is right about nine tenths of the images, and a third of the probe."""
        data = Squares(90)
        data.labels = torch.where(torch.arange(90) % 10 == 0, 1 + torch.arange(90) % 2, 0)

        class Constant(Says):
            def forward(self, images):
                return super().forward(images) * 0.0 + torch.tensor([5.0, -1.0, -1.0])

        assert said(Constant(None), data) == []
        assert said(Constant(1 / 3), data) == []  # each class weighs the same, as in torchmetrics
        assert len(said(Constant(0.71), data)) == 1

    def test_several_loaders(self):
        ours = monitor()
        loaders = [Squares(60).loader(), Squares(60, seed=1).loader()]
        with pytest.warns(UserWarning, match="'val_acc/dataloader_idx_0' is 1"):
            fit(ours, module=Says(1.0), val=loaders)

    def test_binary(self):
        data = Squares(60)
        data.labels = data.labels % 2
        loader = DataLoader(TensorDataset(data.images, data.labels.float()), 4)

        class Shifted(Says):
            def forward(self, images):
                return super().forward(images) - 3.0

        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*classified rightly")
            fit(monitor(), module=Shifted(0.5, classes=1), val=loader)
        with pytest.warns(UserWarning, match="finds 0.50 of its 32 images classified rightly, but 'val_acc' is 0.99"):
            fit(monitor(), module=Shifted(0.99, classes=1), val=loader)


def explained(labels, right):
    labels = torch.tensor(labels)
    return SimpleNamespace(labels=labels, predicted=torch.where(torch.tensor(right), labels, labels + 1))


class TestRanges:
    def test_by_hand(self):
        found = explained([0] * 8 + [1] * 8, [True] * 8 + [False] * 4 + [True] * 4)
        (low, high), (low_of_classes, high_of_classes) = plausible_accuracies(found, {0: 30, 1: 10, -1: 7})
        margin = 4 * ((0.75**2 * 0.9 * 0.1 + 0.25**2 * 0.25) / 8) ** 0.5
        assert (low, high) == pytest.approx((0.875 - margin, 0.875 + margin))
        margin = 4 * (0.25 * (0.9 * 0.1 + 0.25) / 8) ** 0.5
        assert (low_of_classes, high_of_classes) == pytest.approx((0.75 - margin, 0.75 + margin))

    def test_classes_that_nobody_saw_may_be_anything(self):
        found = explained([0] * 200, [True] * 200)
        assert plausible_accuracies(found, {0: 60, 1: 40})[0] == pytest.approx((0.5, 1.1))

    def test_without_labels_nothing_is_known(self):
        assert plausible_accuracies(explained([-1, -1], [True, True]), {-1: 2}) == []

    @pytest.mark.parametrize("classes", [2, 4, 10])
    @pytest.mark.parametrize("num_images", [8, 32])
    def test_chance_and_balance_alone_alarm_nobody(self, classes, num_images):
        """Two thousand validations of random class sizes and accuracies; probes are drawn and balanced as ours."""
        generator = torch.Generator().manual_seed(0)
        alarms = 0
        for _ in range(2000):
            counts = (torch.rand(classes, generator=generator) ** 3 * 400 + 20).long()
            accuracy = torch.rand(classes, generator=generator) ** torch.rand(1, generator=generator).mul(4).exp()
            accuracy = 1 - accuracy if float(torch.rand(1, generator=generator)) < 0.5 else accuracy
            labels = torch.arange(num_images) % classes
            right = torch.rand(num_images, generator=generator) < accuracy[labels]
            truth = float((counts * accuracy).sum() / counts.sum())
            ranges = plausible_accuracies(explained(labels.tolist(), right.tolist()), dict(enumerate(counts.tolist())))
            alarms += all(not low <= truth <= high for low, high in ranges)
        assert alarms <= 2


NAMES = """acc accuracy val_acc val/acc valid_accuracy validation/Accuracy val_accuracy_epoch acc/val val_acc1
    val_acc_top1 val/top1 val_top1_acc val_balanced_accuracy val/MulticlassAccuracy test_acc val.acc@1 Accuracy/val
    eval_accuracy"""
OTHERS = """train_acc val_acc5 val_top5 val_loss val_acc_coarse val_acc_aux accelerator val_auc val_acc_step
    xai/probe_accuracy val_box_accuracy val_acc_per_class val_acc10"""


@pytest.mark.parametrize("name", NAMES.split())
def test_names_of_an_accuracy(name):
    assert is_top_1_accuracy(name, "validate")
    assert is_top_1_accuracy(name, "fit") == any(part in name.lower() for part in ("val", "test"))


@pytest.mark.parametrize("name", OTHERS.split())
def test_names_of_something_else(name):
    assert not is_top_1_accuracy(name, "fit")
    assert not is_top_1_accuracy(name, "validate")


def test_multilabel_accuracies_mean_too_many_things():
    trainer, epoch = (
        SimpleNamespace(callback_metrics={"val_acc": torch.tensor(1.0)}),
        SimpleNamespace(task="multilabel"),
    )
    already = set()
    warn_of_accuracy(trainer, epoch, {}, already)
    assert already == set()
