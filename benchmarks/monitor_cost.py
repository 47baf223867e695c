"""A small fit with and without the monitor."""

from __future__ import annotations

import logging
import tempfile
import warnings

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.result import Result, ratios
from benchmarks.setting import Setting
from benchmarks.timing import compare
from lightning_xai import ExplanationMonitor

BATCH = 32


class Task(L.LightningModule):
    """The smallest ordinary module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def run(setting: Setting) -> Result:
    """Measure one epoch; how large the share is depends on how many images an epoch has, so the price is in images.

    ``worth_images`` is the number of training images whose steps take as long as one explained validation.
    """
    result = Result("A fit with ExplanationMonitor (default settings) / without, one epoch")
    train, validation = setting.size(cpu=256, gpu=4096, quick=32), setting.size(cpu=64, gpu=512, quick=32)
    probe = setting.size(cpu=32, gpu=32, quick=2)
    loaders = [_loader(setting, count) for count in (train, validation)]

    def fit(*callbacks: L.Callback) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _trainer(setting, list(callbacks), folder).fit(Task(setting.model("small CNN")), *loaders)

    repeats = setting.size(cpu=3, gpu=5, quick=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare(lambda: fit(ExplanationMonitor(num_images=probe)), fit, repeats, setting.device)
    row = {**ratios(found), "share_of_time": 1 - 1 / found.ratio, "worth_images": round((found.ratio - 1) * train)}
    result.add(model="small CNN", train=train, validation=validation, probe=probe, **row)
    return result


def _loader(setting: Setting, count: int) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(setting.images(count).cpu(), setting.target(count).cpu()), batch_size=BATCH)


def _trainer(setting: Setting, callbacks: list[L.Callback], folder: str) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return L.Trainer(
        max_epochs=1,
        accelerator="gpu" if setting.on_gpu else "cpu",
        devices=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
