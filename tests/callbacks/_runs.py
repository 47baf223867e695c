"""Tiny runs of a real Trainer, the same with and without the monitor, and what is left of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
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
    "enable_checkpointing": False,
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


class Net(L.LightningModule):
    """Convolution, BatchNorm, dropout, global pooling, linear."""

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

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def loader(count=16, seed=0, *, batch_size=4, shuffle=False, workers=0, masks=False, change=None):
    data = Images(count, seed, masks=masks, change=change)
    return DataLoader(data, batch_size, shuffle=shuffle, num_workers=workers)


def small_metrics():
    return [InsertionAUC(num_steps=4), DeletionAUC(num_steps=4), InsertionDeletion(num_steps=4), HeatmapDrift()]


def monitor(explainers="grad_cam", metrics=None, **settings):
    from lightning_xai.callbacks import Grid

    given = {"num_images": 4, "grid": Grid(num_images=0), **settings}
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
    **settings,
):
    """Seed, make a module, and fit it; two calls with equal arguments give equal weights."""
    L.seed_everything(11, verbose=False)
    module = make()
    trainer = L.Trainer(**{**QUIET, "max_epochs": 2, **settings}, callbacks=callbacks)
    loaders = train_loader or loader(shuffle=True), val_loader or loader(10, seed=1)
    if before is not None:
        before(trainer, module)
    trainer.fit(module, *loaders, ckpt_path=ckpt_path)
    return Run(trainer, module)


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]):
    """Names of the tensors that are not equal bit for bit, or that only one has."""
    common = first.keys() & second.keys()
    return sorted(first.keys() ^ second.keys()) + [name for name in common if not torch.equal(first[name], second[name])]


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
