"""How often the shortcut alarm is raised, and when: fits of small networks with and without a shortcut in the data.

A badge in a corner of each image names the right class in 25 % of the images (*clean*: chance among four classes), in
80 % or in 99 %, for training and validation alike. Nothing here is about cost: the rates are what is measured.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from torch.utils.data import DataLoader, Dataset

from benchmarks.result import Result
from benchmarks.setting import Setting
from lightning_xai import ExplainedEpoch, ExplanationMonitor, ShapesDataset, ShortcutAlarm
from lightning_xai.probing.decisions.shortcut import shortcut_decisions

CLASSES = 4
AGREEMENT = {"clean": 1 / CLASSES, "badge .8": 0.8, "badge .99": 0.99}
ALARM = ShortcutAlarm(nuisance="badge")
CAUSES = {
    "apart": "apart/",
    "object": "object",
    "border": "border",
    "named badge": "regions/badge",
}
METRICS = ("insertion_deletion", "faithfulness_skill", "pointing_game", "relevance_mass_accuracy")
_EXAMPLES = Path(__file__).parents[1] / "examples"


class WithRegions(Dataset):
    """`ShapesDataset` whose items name the badge as a region, and hold no box."""

    def __init__(self, num_images: int, size: int, agreement: float, seed: int) -> None:
        self.shapes = ShapesDataset(num_images, image_size=size, num_classes=CLASSES, shortcut=agreement, seed=seed)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> dict[str, object]:
        item = self.shapes[index]
        named = {"badge": self.shapes.badge_masks[index]}
        return {"image": item["image"], "label": item["label"], "mask": item["mask"], "regions": named}


@dataclass(frozen=True)
class Fit:
    """What a fit left.

    Attributes:
        epochs: Every explained validation.
        without_badge: Accuracy on images whose badge says nothing.
    """

    epochs: Sequence[ExplainedEpoch]
    without_badge: float

    def first(self, cause: str) -> int | None:
        """Return the epoch in which a cause (the beginning of its name) first raises the alarm; None if none does."""
        for end, epoch in enumerate(self.epochs, start=1):
            decisions = shortcut_decisions(self.epochs[:end], ALARM, "grad_cam")
            if any(one.raised and one.cause.startswith(cause) for one in decisions):
                return epoch.epoch
        return None


def fit(setting: Setting, agreement: float, seed: int) -> Fit:
    """Train a small residual network, explained after every epoch."""
    count, size = setting.size(cpu=1024, gpu=1024, quick=64), 32
    L.seed_everything(seed, verbose=False)
    data = [WithRegions(count, size, agreement, 10 + seed)]
    data += [WithRegions(count // 4, size, share, 100 + seed) for share in (agreement, 1 / CLASSES)]
    train, validation, uninformative = (DataLoader(one, 32, shuffle=one is data[0]) for one in data)
    probe = setting.size(cpu=32, gpu=32, quick=8)
    monitor = ExplanationMonitor(metrics=METRICS, num_images=probe, reports=[], shortcut_alarm=ALARM)
    model = _classifier()
    quiet = {"accelerator": "gpu" if setting.on_gpu else "cpu", "devices": 1, "logger": False}
    quiet |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    with tempfile.TemporaryDirectory() as folder:
        epochs = setting.size(cpu=10, gpu=10, quick=2)
        trainer = L.Trainer(max_epochs=epochs, callbacks=[monitor], default_root_dir=folder, **quiet)
        trainer.fit(model, train, validation)
        (values,) = L.Trainer(default_root_dir=folder, **quiet).validate(model, uninformative, verbose=False)
    return Fit([epoch for epoch in monitor.history if epoch.stage == "fit"], values["val_accuracy"])


def run(setting: Setting, seeds: Sequence[int] = range(5)) -> Result:
    """Count the fits in which each cause raises the alarm, and name the epochs in which it first did."""
    result = Result("Fits in which the shortcut alarm is raised, and the epoch of the first alarm of each, by cause")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for name, agreement in AGREEMENT.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits = list(_fits(setting, agreement, seeds[: setting.size(cpu=len(seeds), gpu=len(seeds), quick=1)]))
        last = [one.epochs[-1].loaders[0].accuracy for one in fits]
        accuracy = " ".join(f"{one.value:.2f}" for one in last if one is not None)
        blind = " ".join(f"{one.without_badge:.2f}" for one in fits)
        first = {cause: [one.first(begins) for one in fits] for cause, begins in CAUSES.items()}
        told = {cause: _told(epochs) for cause, epochs in first.items()}
        result.add(data=name, fits=len(fits), accuracy=accuracy, accuracy_without_badge=blind, **told)
    return result


def _fits(setting: Setting, agreement: float, seeds: Sequence[int]) -> Iterator[Fit]:
    for seed in seeds:
        yield fit(setting, agreement, seed)


def _told(first: Sequence[int | None]) -> str:
    raised = [epoch for epoch in first if epoch is not None]
    return f"{len(raised)}/{len(first)}" + (f" (epochs {', '.join(map(str, raised))})" if raised else "")


def _classifier() -> L.LightningModule:
    """Return the small residual network of the examples."""
    sys.path.insert(0, str(_EXAMPLES))
    try:
        from _shared.classifier import ImageClassifier
    finally:
        sys.path.remove(str(_EXAMPLES))
    return ImageClassifier(CLASSES)
