"""Every explained epoch as a file in the run's folder: small heatmaps, and all that is known about each image."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_xai._checks import check_count
from lightning_xai._settings import stored
from lightning_xai.loggers.files import exists, joined, read_file, write_file
from lightning_xai.probing.epoch_state import epoch_of, epoch_state
from lightning_xai.probing.explained import ExplainedEpoch, moment_of
from lightning_xai.probing.probe import Probe
from lightning_xai.reports.captions import class_names
from lightning_xai.reports.probe_pictures import probe_pictures
from lightning_xai.reports.report import Report, Run

VERSION = 1
INDEX = "index.json"


@dataclass(frozen=True)
class Maps(Report):
    """Keep each explained epoch whole in ``<prefix>_maps/``, from which filmstrips are drawn and `load_run` reads.

    A file per epoch holds the small heatmaps (at most 56×56), the probabilities and every number about every image, as
    plain tensors (``torch.load(path, weights_only=True)``): about 6 kB per image and explainer. ``index.json`` names
    the epochs of this run in order, the metrics with their settings and the names of the classes; another file holds
    the explained images as small pictures. After `trainer.validate` and `trainer.test` the folder ends in
    ``_validate`` and ``_test``. A run that is resumed goes on in these files, or elsewhere, as in a logger's
    next version, with the numbers of the epochs before. With ``private=True`` numbers alone are kept: no heatmaps,
    pictures or ids.

    Args:
        size: Longer side of a kept picture in pixels; 0 keeps none.
        mean: Per channel, what the images were normalised with, so that they are kept as they were.
        std: Per channel, likewise.
        channels: Kept of images that are no photographs; see `Grid`.

    Raises:
        ValueError: If a number is out of range.
    """

    reads_logged: ClassVar[bool] = True

    size: int = 112
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    channels: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count(self.size, "size", least=0)

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Write the epoch, and the pictures of its probes unless they are there."""
        folder = maps_folder(run.folder, run.keys.prefix, epoch.stage)
        _write(folder, epoch if not run.private else epoch.numbers_only())
        for loader, probe in run.probes.items() if self.size and not run.private else ():
            path = joined(folder, _name_of_pictures(loader, epoch))
            if not exists(path):
                write_file(path, self._pictures(probe, epoch.loaders[loader].keys))

    def end_validation(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Write which epochs belong to the run, now that the metrics logged beside the last one are known."""
        stage_epochs = [one for one in run.epochs if one.stage == epoch.stage]
        folder = maps_folder(run.folder, run.keys.prefix, epoch.stage)
        before = stage_epochs[:-1]
        if before and not exists(joined(folder, file_of(before[-1]))):
            _write_missing(folder, before)
        index = {
            "version": VERSION,
            "prefix": run.keys.prefix,
            "stage": epoch.stage,
            "epochs": [
                {"file": file_of(one), "logged": dict(run.logged.get(moment_of(one), {}))} for one in stage_epochs
            ],
            "metrics": {name: stored(metric) for name, metric in run.keys.plan.metrics(annotated=True).items()},
            "settings": {
                "target": run.keys.plan.target,
                "num_images": run.keys.num_images,
                "seed": run.keys.plan.seed,
            },
            "versions": {name: _version(name) for name in ("lightning_xai", "torch", "torchmetrics")},
            "explainers": {name: repr(explainer) for name, explainer in run.keys.plan.explainers.items()},
            "pictures": {} if run.private or not self.size else _pictures_of(epoch),
            "class_names": _class_names(epoch, run),
        }
        write_file(joined(folder, INDEX), json.dumps(index, indent=1).encode())

    def _pictures(self, probe: Probe, keys: Tensor) -> bytes:
        """Return the images of a probe as small pictures, by the keys of their content."""
        content = io.BytesIO()
        pictures = probe_pictures(probe, mean=self.mean, std=self.std, channels=self.channels, size=self.size)
        torch.save({"keys": keys.clone(), "pictures": pictures}, content)
        return content.getvalue()


def maps_folder(folder: str | Path, prefix: str, stage: str) -> str | Path:
    """Return the folder of the maps below a run's folder."""
    return joined(folder, f"{prefix}_maps" + ("" if stage == "fit" else f"_{stage}"))


def file_of(epoch: ExplainedEpoch) -> str:
    """Return the name of an epoch's file: one name for each moment, and for each checkpoint that was tested there."""
    of = "" if epoch.checkpoint is None else f"-{PurePath(epoch.checkpoint).stem}"
    return f"epoch={epoch.epoch:04d}-step={epoch.step:08d}{of}.pt"


def epoch_with_maps(epoch: ExplainedEpoch, run: Run) -> ExplainedEpoch | None:
    """Return an epoch of the past with its heatmaps, as it was kept; None where it was not, or not in this folder."""
    path = joined(maps_folder(run.folder, run.keys.prefix, epoch.stage), file_of(epoch))
    if not exists(path):
        return None
    kept = epoch_of(loaded_tensors(path), run.keys.plan.metrics(annotated=True))
    return kept if any(found.heatmaps for found in kept.loaders.values()) else None


def loaded_tensors(path: str | Path) -> Any:
    """Return what a file of tensors holds; nothing in it is executed."""
    return torch.load(io.BytesIO(read_file(path)), weights_only=True)


def _write(folder: str | Path, epoch: ExplainedEpoch) -> None:
    content = io.BytesIO()
    torch.save(epoch_state(epoch), content)
    write_file(joined(folder, file_of(epoch)), content.getvalue())


def _write_missing(folder: str | Path, epochs: Sequence[ExplainedEpoch]) -> None:
    """Write epochs whose files are elsewhere, of which a checkpoint keeps the numbers."""
    for one in epochs:
        if not exists(joined(folder, file_of(one))):
            _write(folder, one.numbers_only())


def _name_of_pictures(loader: int, epoch: ExplainedEpoch) -> str:
    """Return a name that belongs to the images: a probe of others has another file."""
    return f"images-{loader}-{zlib.crc32(epoch.loaders[loader].keys.numpy().tobytes()):08x}.pt"


def _version(package: str) -> str:
    return str(import_module(package).__version__)


def _pictures_of(epoch: ExplainedEpoch) -> dict[str, str]:
    return {str(loader): _name_of_pictures(loader, epoch) for loader in epoch.loaders}


def _class_names(epoch: ExplainedEpoch, run: Run) -> dict[str, list[str]]:
    numbers = {loader: found.probabilities.shape[1] for loader, found in epoch.loaders.items()}
    names = {loader: class_names(run.trainer, epoch.stage, loader, number) for loader, number in numbers.items()}
    return {str(loader): list(of) for loader, of in names.items() if of is not None}
