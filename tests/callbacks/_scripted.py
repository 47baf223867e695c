"""Runs whose explanation scores and accuracies are written down beforehand, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

from lightning_xai import ExplanationCheckpoint, ExplanationEarlyStopping
from lightning_xai.metrics.metric import ExplanationMetric
from tests.callbacks._runs import Constant, Net, loader, monitor, train


class Told(ExplanationMetric):
    """A score whose mean in each epoch is written down; each image differs a little from it.

    Args:
        by_epoch: The means.
        spread: How much images differ.
        centred: Whether the mean is exact; where several processes score a part each, it cannot be.
    """

    higher_is_better = True
    range = (-10.0, 10.0)

    def __init__(self, by_epoch, spread=0.01, centred=True):
        super().__init__()
        self.by_epoch, self.spread, self.centred = list(by_epoch), spread, centred

    def score(self, case):
        epoch = min(case.classifier.model.trainer.current_epoch, len(self.by_epoch) - 1)
        differs = (case.images.mean((1, 2, 3)) * 1e4 * (epoch + 1)).sin()
        return self.by_epoch[epoch] + self.spread * (differs - differs.mean() * self.centred)


class Falling(Told):
    """The same, the lower the better."""

    higher_is_better = False


def graded(accuracies, name="val_acc", hook="validation"):
    """Return a class of modules that log accuracies that are written down."""

    class Graded(Net):
        def grade(self):
            if accuracies and not self.trainer.sanity_checking:
                self.log(name, accuracies[min(self.current_epoch, len(accuracies) - 1)])

        def on_validation_epoch_end(self):
            if hook == "validation":
                self.grade()

        def on_train_epoch_end(self):
            if hook == "train":
                self.grade()

    return Graded


def watch(by_epoch, spread=0.01, centred=True, **settings):
    """Return a monitor that scores what is written down."""
    return monitor(Constant(), {"told": Told(by_epoch, spread, centred)}, **settings)


def stopping(**settings):
    return ExplanationEarlyStopping(**{"monitor": "xai/told", "rule": "no_gain", **settings})


def keeping(folder=None, **settings):
    return ExplanationCheckpoint(**{"monitor": "xai/told", "dirpath": folder, "filename": "{epoch}", **settings})


def run(callbacks, accuracies=(), hook="validation", name="val_acc", **settings):
    """Train so many epochs as there are accuracies, or as are asked for."""
    given = {"max_epochs": len(accuracies) or 1, "limit_train_batches": 1, "val_loader": loader(10, seed=1), **settings}
    return train(callbacks, graded(list(accuracies), name, hook), **given)


def files(folder):
    return sorted(path.name for path in Path(folder).glob("*.ckpt"))
