"""A model that reads a corner, images whose corner says the class, and heatmaps of that corner."""

from __future__ import annotations

import lightning as L
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_xai import ExplanationMonitor
from lightning_xai.explainers import Explainer
from lightning_xai.metrics import InsertionDeletion, RelevanceMassAccuracy
from tests.callbacks._runs import SIZE, train

CORNER, MIDDLE = slice(0, 2), slice(3, 5)  # rows and columns alike
KEY = "xai/shortcut_alarm"


class Corners(Dataset):
    """Noise with a corner that is dark or bright, which says the class, and an object in the middle that says nothing.

    Args:
        count: Number of images.
        masks: Whether items have the mask of the object.
        regions: Whether items name the corner.
    """

    def __init__(self, count=12, *, masks=True, regions=False):
        noise = torch.Generator().manual_seed(0)
        self.images = 0.5 + 0.1 * torch.rand(count, 1, SIZE, SIZE, generator=noise)
        self.labels = torch.arange(count) % 2
        self.images[:, 0, CORNER, CORNER] = self.labels[:, None, None].float()
        self.masks, self.regions = masks, regions

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        item = {"image": self.images[index], "label": self.labels[index], "id": f"patient {index}"}
        object_, corner = (torch.zeros(SIZE, SIZE, dtype=torch.bool) for _ in range(2))
        object_[MIDDLE, MIDDLE], corner[CORNER, CORNER] = True, True
        more = ({"mask": object_} if self.masks else {}) | ({"regions": {"tag": corner}} if self.regions else {})
        return item | more


class ReadsTheCorner(L.LightningModule):
    """Is always right, whatever it is trained on; learns nothing.

    Args:
        sharpness: Of its logits; 0 for a model that knows nothing.
    """

    def __init__(self, sharpness=8.0):
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(sharpness))

    def forward(self, images):
        seen = self.sharpness * (images[:, 0, CORNER, CORNER].mean((1, 2)) - 0.5)
        return torch.stack([-seen, seen], 1)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch["image"]), batch["label"])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", F.cross_entropy(self(batch["image"]), batch["label"]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Looks(Explainer):
    """Heat on one place, which decides nothing by itself.

    Args:
        place: ``"corner"``, ``"middle"``, or by epoch.
    """

    def __init__(self, place="corner"):
        self._place = place

    def explain(self, classifier, images, target):
        trainer = classifier.model.trainer
        place = self._place if isinstance(self._place, str) else self._place[trainer.current_epoch]
        heatmaps = torch.zeros_like(images[:, 0])
        pixels = {"corner": CORNER, "middle": MIDDLE}[place]
        heatmaps[:, pixels, pixels] = 1.0
        return heatmaps


def watching(place="corner", **settings):
    """Return a monitor with heatmaps of a place."""
    metrics = {"faithfulness": InsertionDeletion(num_steps=4), "mass": RelevanceMassAccuracy()}
    return ExplanationMonitor(
        {"looks": Looks(place)}, **{"metrics": metrics, "num_images": 12, "reports": [], **settings}
    )


def loader(**settings):
    return DataLoader(Corners(**settings), 4)


def run(*callbacks, data=None, make=ReadsTheCorner, epochs=4, **settings):
    """Train on corners; return what is left."""
    data = loader() if data is None else data
    return train(list(callbacks), make, train_loader=loader(), val_loader=data, max_epochs=epochs, **settings)


def values(monitor, key=KEY):
    """The alarm by epoch."""
    return [epoch[key] for epoch in monitor.history if epoch.stage == "fit"]
