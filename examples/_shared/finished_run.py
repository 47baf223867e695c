"""Runs that went to their end, with the weights of every epoch, so that it can be measured what each is worth."""

from argparse import Namespace
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_xai import (
    ChestXraysDataset,
    ExplainedEpoch,
    ExplanationMonitor,
    FashionCanvases,
    GradCAM,
    Readout,
    Report,
    ShapesDataset,
)
from lightning_xai.functional import pointing_game, relevance_mass_accuracy
from lightning_xai.reports import History

from .classifier import ImageClassifier, small_resnet
from .rules import (
    Choice,
    explanation_checkpoint,
    highest,
    most_accurate,
    plain_stop,
    stop_at_a_fall,
    stop_without_gain,
)

DATA = ("shapes", "fashion", "badge", "xrays")
METRICS = ("insertion_deletion", "relative_faithfulness", "faithfulness_skill", "insertion_skill")
SCORES = ("faithfulness", "faithfulness_gain", "faithfulness_relative", "faithfulness_skill", "insertion_skill")
WORTH = ("validation accuracy", "held-out accuracy", "pointing game", "mass on the object")
MOST_ACCURATE = "highest validation accuracy"
LEAST_ACCURACY = 0.7  # from which on `rule="no_gain"` counts


class Split(NamedTuple):
    """Images to train on, to choose by, and to measure worth on."""

    train: Dataset
    validation: Dataset
    held_out: Dataset


class Effusions(Dataset):
    """X-rays and whether each shows an effusion, with a marker that goes with it.

    Args:
        num_images: How many.
        size: Of an image in pixels.
        marker: Correlation of the marker with effusion.
        seed: Of the images.
    """

    classes = ("no effusion", "effusion")

    def __init__(self, num_images: int, size: int, marker: float, seed: int) -> None:
        self.xrays = ChestXraysDataset(num_images, size, marker=marker, seed=seed)
        self.place = self.xrays.classes.index("effusion")

    def __len__(self) -> int:
        return len(self.xrays)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        known = self.xrays[index]
        label = known["label"][self.place].long()
        return {"image": known["image"], "label": label, "mask": known["regions"]["effusion"]}


def split_of(name: str, seed: int, settings: Namespace) -> Split:
    """Return the data of a run; other seeds give other images, of garments the same ones at other places."""
    size, num_validation, num_held_out = settings.image_size, settings.num_images // 4, settings.num_held_out
    if name == "fashion":
        garments = FashionCanvases(settings.num_images, size, folder=settings.folder, seed=seed)
        others = FashionCanvases(num_validation + num_held_out, size, False, settings.folder, seed)
        parts = range(num_validation), range(num_validation, len(others))
        return Split(garments, *(Subset(others, part) for part in parts))
    if name == "xrays":
        return Split(
            Effusions(settings.num_images, size, 0.95, 3 * seed),
            Effusions(num_validation, size, 0.95, 3 * seed + 1),
            Effusions(num_held_out, size, 0.0, 3 * seed + 2),
        )
    telling, silent = (0.95, 0.25) if name == "badge" else (None, None)
    return Split(
        ShapesDataset(settings.num_images, size, shortcut=telling, seed=3 * seed),
        ShapesDataset(num_validation, size, shortcut=telling, seed=3 * seed + 1),
        ShapesDataset(num_held_out, size, shortcut=silent, seed=3 * seed + 2),
    )


@dataclass
class FinishedRun:
    """One training, of which every epoch was explained.

    Attributes:
        module: With the weights of the last epoch.
        validation: Its loader.
        held_out: Images that chose nothing.
        history: The explained epochs.
        accuracies: Epoch -> accuracy on the validation images.
        weights: Epoch -> state of the module.
    """

    module: ImageClassifier
    validation: DataLoader
    held_out: Dataset
    history: list[ExplainedEpoch] = field(default_factory=list)
    accuracies: dict[int, float] = field(default_factory=dict)
    weights: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    _worth: dict[int, tuple[float, ...]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last epoch."""
        return max(self.accuracies)

    @cached_property
    def choices(self) -> dict[str, int | None]:
        """The epoch that each rule takes, or after which it stops; None if it lets the run go to its end."""
        history, accuracies = self.history, self.accuracies
        return {
            "the last epoch": self.last,
            MOST_ACCURATE: most_accurate(accuracies),
            **{f"highest `{score}`": highest(history, f"xai/{score}") for score in SCORES},
            "stop: `EarlyStopping` on faithfulness": plain_stop(history),
            "stop: `ExplanationEarlyStopping`": stop_at_a_fall(history),
            f'stop: the same, `"no_gain"` from {LEAST_ACCURACY:.0%}': stop_without_gain(
                history, accuracies, LEAST_ACCURACY
            ),
            "**`ExplanationCheckpoint`**": self.checkpoint.best.epoch,
        }

    @cached_property
    def checkpoint(self) -> Choice:
        """What `ExplanationCheckpoint` chooses, and keeps with ``rule="pareto"``."""
        return explanation_checkpoint(self.history, self.accuracies, len(self.validation.dataset))

    def worth(self, epoch: int | None) -> tuple[float, ...]:
        """Return what the weights of an epoch are worth, in the order of `WORTH`; of None, the last one's."""
        epoch = self.last if epoch is None else epoch
        if epoch not in self._worth:
            self._worth[epoch] = (self.accuracies[epoch], *_measured(self.module_at(epoch), self.held_out))
        return self._worth[epoch]

    def module_at(self, epoch: int) -> ImageClassifier:
        """Return the network as it was validated in an epoch."""
        module = deepcopy(self.module)
        module.load_state_dict(self.weights[epoch])
        return module.eval()


class Times(nn.Module):
    """Multiply logits by a number: the inverse of a temperature."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return self.factor * logits


def at_temperature(run: FinishedRun, factor: float, settings: Namespace) -> ExplainedEpoch:
    """Explain the last epoch's network, its logits times a factor, on the images that the run explained."""
    module = ImageClassifier(num_classes=0, net=nn.Sequential(run.module.net, Times(factor)))
    monitor = _monitor(settings)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, callbacks=[monitor], enable_progress_bar=False, enable_model_summary=False
    )
    trainer.validate(module, run.validation, verbose=False)
    return monitor.latest


def _measured(module: ImageClassifier, held_out: Dataset) -> tuple[float, float, float]:
    """Return accuracy, pointing game and mass on the object, of Grad-CAM of the right class."""
    right, hits, mass = [], [], []
    for batch in DataLoader(held_out, batch_size=64):
        images, labels, masks = batch["image"], batch["label"], batch["mask"]
        with torch.no_grad():
            right.append((module(images).argmax(1) == labels).float())
        heatmaps = GradCAM()(module, images, labels)
        hits.append(pointing_game(heatmaps, masks=masks).float())
        mass.append(relevance_mass_accuracy(heatmaps, masks=masks))
    return tuple(float(torch.cat(rows).nanmean()) for rows in (right, hits, mass))


def finished_run(name: str, seed: int, settings: Namespace, folder: Path) -> FinishedRun:
    """Train once, and keep what every epoch was."""
    L.seed_everything(seed, verbose=False)
    split = split_of(name, seed, settings)
    validation = DataLoader(split.validation, batch_size=128)
    num_classes, num_channels = len(split.train.classes), len(split.train[0]["image"])
    module = ImageClassifier(num_classes, net=small_resnet(num_classes, num_channels))
    run = FinishedRun(module, validation, split.held_out)

    def remember(trainer: L.Trainer, module: L.LightningModule) -> None:
        run.accuracies[trainer.current_epoch] = float(trainer.callback_metrics["val_accuracy"])
        run.weights[trainer.current_epoch] = deepcopy(module.state_dict())

    monitor = _monitor(settings, History())
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder / name / f"seed={seed}",
        callbacks=[monitor, LambdaCallback(on_train_epoch_end=remember)],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(run.module, DataLoader(split.train, batch_size=32, shuffle=True), validation)
    run.module.eval()
    run.history = list(monitor.history)
    return run


def _monitor(settings: Namespace, *reports: Report) -> ExplanationMonitor:
    return ExplanationMonitor(
        metrics=METRICS, num_images=settings.num_explained, reports=reports, readout=Readout(output="logit")
    )
