"""Tiny runs of a real Trainer, the same with and without the monitor, and what is left of them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_xai import ExplanationMonitor
from lightning_xai.explainers import Explainer
from lightning_xai.metrics import DeletionAUC, HeatmapDrift, InsertionAUC, InsertionDeletion

SIZE = 8
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


class Images(Dataset):
    """Noise with a bright quarter that says the class, 0 or 1; masks of that quarter if asked for."""

    def __init__(self, count=16, seed=0, *, masks=False, change=None):
        noise = torch.Generator().manual_seed(seed)
        self.images = torch.rand(count, 1, SIZE, SIZE, generator=noise)
        self.labels = torch.arange(count) % 2
        self.masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
        half = SIZE // 2
        for image, mask, label in zip(self.images, self.masks, self.labels.tolist(), strict=True):
            place = slice(half * label, half * (label + 1))
            image[:, place, place] += 1.0
            mask[place, place] = True
        self.with_masks, self.change = masks, change

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index] if self.change is None else self.change(self.images[index])
        return (image, self.labels[index], *([self.masks[index]] if self.with_masks else []))


class Steps:
    """Layers and steps of a LightningModule, of either package."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.dropout(self.net(images).mean((2, 3))))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Net(Steps, L.LightningModule):
    """Convolution, BatchNorm, dropout, global pooling, linear."""


def loader(count=16, seed=0, *, batch_size=4, shuffle=False, workers=0, masks=False, change=None):
    data = Images(count, seed, masks=masks, change=change)
    return DataLoader(data, batch_size, shuffle=shuffle, num_workers=workers)


def small_metrics():
    return [InsertionAUC(num_steps=4), DeletionAUC(num_steps=4), InsertionDeletion(num_steps=4), HeatmapDrift()]


def monitor(explainers="grad_cam", metrics=None, **settings):
    from lightning_xai.reports import History, Scalars

    given = {"num_images": 4, "reports": (Scalars(), History()), **settings}
    return ExplanationMonitor(explainers, small_metrics() if metrics is None else metrics, **given)


@dataclass
class Run:
    """What a run left: its trainer, module and every number of its weights and optimizers."""

    trainer: L.Trainer
    module: L.LightningModule

    def state(self):
        """All tensors of the module and the optimizers in one flat dict."""
        found = {f"weights/{name}": value for name, value in self.module.state_dict().items()}
        for i, optimizer in enumerate(self.trainer.optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                found.update({f"optimizer/{i}/{j}/{k}": v for k, v in state.items() if isinstance(v, torch.Tensor)})
        return {name: value.detach().clone() for name, value in found.items()}

    def values(self):
        """The user's own logged values."""
        return {k: v.item() for k, v in self.trainer.callback_metrics.items() if not k.startswith("xai/")}


def train(
    callbacks,
    make: Callable[[], L.LightningModule] = Net,
    *,
    train_loader=None,
    val_loader=None,
    ckpt_path=None,
    before: Callable[[L.Trainer, L.LightningModule], object] | None = None,
    package=L,
    **settings,
):
    """Seed, make a module, and fit it; two calls with equal arguments give equal weights."""
    package.seed_everything(11, verbose=False)
    module = make()
    checkpoints = "ModelCheckpoint" in {kind.__name__ for callback in callbacks for kind in type(callback).__mro__}
    given = {**QUIET, "max_epochs": 2, "enable_checkpointing": checkpoints, **settings}
    trainer = package.Trainer(**given, callbacks=callbacks)
    train_loader = loader(shuffle=True) if train_loader is None else train_loader
    val_loader = loader(10, seed=1) if val_loader is None else val_loader
    if before is not None:
        before(trainer, module)
    trainer.fit(module, train_loader, val_loader, ckpt_path=ckpt_path)
    return Run(trainer, module)


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]):
    """Names of the tensors that are not equal bit for bit, or that only one has."""
    unequal = [name for name in first.keys() & second.keys() if not torch.equal(first[name], second[name])]
    return sorted(first.keys() ^ second.keys()) + unequal


class Constant(Explainer):
    """Something cheap that does ``harm`` to the model and the process before it answers; it may raise after that."""

    def __init__(self, harm=None, *, fails=None):
        self._harm, self._fails = harm, fails

    def explain(self, classifier, images, target):
        if self._harm is not None:
            self._harm(classifier, images)
        if self._fails is not None:
            self._fails()
        return images.sum(1)


class Moody(Explainer):
    """Fails, or shows nothing, in some epochs (not in the sanity check).

    Args:
        mood: Epoch -> ``"raises"``, ``"zeros"``, ``"nan"``, or anything else for a heatmap.
    """

    def __init__(self, mood):
        self._mood = mood

    def explain(self, classifier, images, target):
        trainer = classifier.model.trainer
        mood = "" if trainer.sanity_checking else self._mood(trainer.current_epoch)
        if mood == "raises":
            raise RuntimeError("no heatmap today")
        factor = {"zeros": 0.0, "nan": torch.nan}.get(mood, 1.0)
        return images.sum(1) * factor


def in_epochs(mood, *epochs):
    """Return an explainer that is in a mood in some epochs, or always."""
    return Moody(lambda epoch: mood if not epochs or epoch in epochs else "")


class Attendance(L.Callback):
    """What monitors can read after each validation: (epoch, our keys and values)."""

    def __init__(self):
        self.seen = []
        self.trainer = None

    def setup(self, trainer, pl_module, stage):
        self.trainer = trainer

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("xai/")}
            self.seen.append((trainer.current_epoch, values))


def logged(trainer):
    """The rows of a CSVLogger that hold values of ours: {(epoch, step): {key: value}}."""
    with (Path(trainer.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        values = {k: float(v) for k, v in row.items() if k.startswith("xai/") and v != ""}
        if values:
            found[int(row["epoch"]), int(row["step"])] = values
    return found


def remembered(monitor):
    """The history in the form of `logged`, without standard errors."""
    return {
        (row["epoch"], row["step"]): {k: v for k, v in row.items() if k.startswith("xai/") and not k.endswith("_se")}
        for row in monitor.history
    }


@contextmanager
def unguarded(monkeypatch):
    """Replace `preserved` everywhere by a context that enables gradients and restores nothing."""

    @contextmanager
    def rude(model):
        with torch.inference_mode(False), torch.enable_grad():
            yield

    with monkeypatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("lightning_xai.") and "preserved" in vars(module) and hasattr(module, "__file__"):
                patch.setattr(module, "preserved", rude)
        yield
