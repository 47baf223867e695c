"""Which share of an epoch explaining takes, in the fits of two examples."""

from __future__ import annotations

import importlib
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from benchmarks.result import Result
from benchmarks.setting import Setting
from benchmarks.suite_cost import without_skills
from benchmarks.trained import FASHION
from lightning_xai import ExplanationMonitor, FashionCanvases, ShapesDataset

_EXAMPLES = Path(__file__).parents[1] / "examples"
_EPOCHS = 2
_GOALS = {"garments": 0.08, "demo": 0.19}


def run(setting: Setting) -> Result:
    """Measure the last epoch: the first one finds the layer and tries an image beside."""
    result = Result(
        "Share of an epoch that ExplanationMonitor takes (32 probe images), in the fits of the examples",
        "half of what 140 evaluations per image took: .08 of garments, .19 of the demo",
    )
    for example in _examples(setting):
        for suite, metrics in {"default": None, "default − skills": without_skills()}.items():
            monitor = _TimedMonitor(num_images=setting.size(cpu=32, gpu=32, quick=2), metrics=metrics)
            row = _fitted(setting, example, monitor)
            met = {} if setting.quick else {"met": row["share"] <= _GOALS[example.name]}
            result.add(fit=example.name, images=example.num_images, suite=suite, **row, **met)
    return result


@dataclass(frozen=True)
class _Example:
    name: str
    train: Dataset[Any]
    validation: Dataset[Any]
    num_images: int
    batch_size: int
    num_classes: int


def _examples(setting: Setting) -> Iterator[_Example]:
    """Yield the data of ``examples/quickstart.py`` and, where its files are, of ``examples/fashion_mnist.py``."""
    count = setting.size(cpu=2048, gpu=2048, quick=32)
    yield _Example("demo", ShapesDataset(count), ShapesDataset(count // 4, seed=1), count, 32, 4)
    if FASHION.exists():
        count = setting.size(cpu=6000, gpu=6000, quick=36)
        train, validation = FashionCanvases(count), FashionCanvases(count // 6, train=False)
        yield _Example("garments", train, validation, count, 64, 10)


def _shared(name: str) -> Any:
    """Return a module of the examples."""
    sys.path.insert(0, str(_EXAMPLES))
    try:
        return importlib.import_module(f"_shared.{name}")
    finally:
        sys.path.remove(str(_EXAMPLES))


def _fitted(setting: Setting, example: _Example, monitor: _TimedMonitor) -> dict[str, Any]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    clock = _EpochClock()
    L.seed_everything(0, verbose=False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_epochs=_EPOCHS,
            accelerator="gpu" if setting.on_gpu else "cpu",
            devices=1,
            callbacks=[monitor, clock],
            logger=TensorBoardLogger(folder),
            log_every_n_steps=8,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            _shared("classifier").ImageClassifier(num_classes=example.num_classes),
            DataLoader(example.train, example.batch_size, shuffle=True),
            DataLoader(example.validation, 128),
        )
    epoch = clock.ended[-1] - clock.ended[-2]
    return {
        "evaluations_per_image": monitor.history[-1].evaluations / monitor.num_images,
        "monitor_s": monitor.spent[-1],
        "epoch_s": epoch,
        "share": monitor.spent[-1] / epoch,
    }


class _TimedMonitor(ExplanationMonitor):
    """Knows how many seconds of CPU time each validation's explaining took, reports included."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.spent: list[float] = []

    def on_validation_epoch_end(self, *args: Any) -> None:
        began = time.process_time()
        super().on_validation_epoch_end(*args)
        self.spent.append(time.process_time() - began)

    def on_validation_end(self, *args: Any) -> None:
        began = time.process_time()
        super().on_validation_end(*args)
        self.spent[-1] += time.process_time() - began


class _EpochClock(L.Callback):
    """Knows the CPU time at which each epoch ended, its validation included."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_train_epoch_end(self, *_: Any) -> None:
        self.ended.append(time.process_time())
