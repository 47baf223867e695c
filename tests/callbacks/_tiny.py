"""A tiny module, images that say their class by the place of a bright square, and one call that runs a Trainer."""

from __future__ import annotations

from types import SimpleNamespace

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_xai._randomness import content_keys
from lightning_xai.metrics import InsertionDeletion, Sparseness
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing import sample_from_batch
from lightning_xai.reports import History, Scalars

SIZE, CLASSES = 16, 3
NO_PICTURES = (Scalars(), History())


class Squares:
    """Images (N, 1, 16, 16), labels, masks and boxes of their squares."""

    def __init__(self, count=12, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(count, 1, SIZE, SIZE, generator=generator)
        self.labels = torch.arange(count) % CLASSES
        self.masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
        for image, mask, label in zip(self.images, self.masks, self.labels.tolist(), strict=True):
            place = slice(1 + 5 * label, 5 + 5 * label)
            image[:, place, place] += 1.5
            mask[place, place] = True
        low = (1 + 5 * self.labels)[:, None].expand(-1, 2)
        self.boxes = torch.cat([low, low + 4], 1).float()

    def loader(self, *parts, batch_size=4):
        """Yield tuples of images and ``parts``; images and labels if none is given."""
        return DataLoader(TensorDataset(self.images, *(parts or (self.labels,))), batch_size)


class Dicts(Dataset):
    """Items as mappings."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index):
        return {name: column[index] for name, column in self.columns.items()}


def tiny_net(classes=CLASSES, channels=1):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, classes),
    )


class OnlySteps(L.LightningModule):
    """A module that defines no forward."""

    def __init__(self, classes=CLASSES, lr=0.05, **net):
        super().__init__()
        self.net = tiny_net(classes, **net)
        self.lr = lr

    def loss(self, batch):
        images, labels = (batch["image"], batch["label"]) if isinstance(batch, dict) else batch[:2]
        logits = self.net(images)
        if labels.is_floating_point():
            return F.binary_cross_entropy_with_logits(logits, labels.view_as(logits))
        return F.cross_entropy(logits, labels)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Module(OnlySteps):
    """``form`` says what forward returns: a tensor, a mapping, a tuple or an object with ``logits``."""

    def __init__(self, classes=CLASSES, form="tensor", **settings):
        super().__init__(classes, **settings)
        self.form = form

    def forward(self, images):
        logits = self.net(images)
        return {
            "tensor": logits,
            "dict": {"logits": logits, "features": None},
            "object": SimpleNamespace(logits=logits, loss=None),
            "tuple": (logits, "more"),
            "other": {"scores": logits},
        }[self.form]


class Brightness(ExplanationMetric):
    """Something cheap whose value is known: the mean of the images."""

    higher_is_better = True
    range = (0.0, 10.0)

    def score(self, case):
        return case.images.mean((1, 2, 3))


def cheap():
    return [InsertionDeletion(num_steps=4), Sparseness()]


def trainer_of(*callbacks, **settings):
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
        "limit_train_batches": 2,
        "log_every_n_steps": 1,
    }
    return L.Trainer(**{**quiet, **settings}, callbacks=list(callbacks))


def fit(*callbacks, module=None, val=None, train=None, **settings):
    """Fit a module and return the Trainer."""
    trainer = trainer_of(*callbacks, **settings)
    val = Squares().loader() if val is None else val
    if train is None:
        train = val[0] if isinstance(val, list) else val
    trainer.fit(Module() if module is None else module, train, val)
    return trainer


def chosen(images, labels, count):
    """Choose a probe naively: classes take turns, in a class and in a round the smallest content key is next."""
    left = {}
    for key, label, index in sorted(
        zip(content_keys(images).tolist(), labels.tolist(), range(len(labels)), strict=True)
    ):
        left.setdefault(label, []).append((key, index))
    found = []
    while any(left.values()):
        found += [index for _, index in sorted(queue.pop(0) for queue in left.values() if queue)]
    return found[:count]


def values(trainer):
    """What is logged by the monitor, without its prefix."""
    return {k.removeprefix("xai/"): v.item() for k, v in trainer.callback_metrics.items() if k.startswith("xai/")}


class Data(L.LightningDataModule):
    """Squares for LightningCLI."""

    def __init__(self, count: int = 12):
        super().__init__()
        self.count = count

    def train_dataloader(self):
        return Squares(self.count).loader()

    val_dataloader = train_dataloader


def read_batch(batch):
    """Stand for a user's own reading of a batch, named by its path on a command line."""
    return sample_from_batch(batch)


def second_of(output):  # without annotations, as users write it
    """Stand for a user's own way to the logits."""
    return output[1]


def halves_of_batch(batch):
    """Stand for a user's own groups."""
    return ["first" if 2 * i < len(batch[0]) else "second" for i in range(len(batch[0]))]
