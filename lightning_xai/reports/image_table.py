"""A table per explained epoch with a row per image, for trackers in which tables are sorted, filtered and joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai._checks import check_count
from lightning_xai.evidence.heat import normalized
from lightning_xai.loggers.log_table import Cell, TablePicture, log_table, takes_tables
from lightning_xai.probing.explained import Explained, ExplainedEpoch, moment_of
from lightning_xai.probing.probe import Item, Probe
from lightning_xai.reports.captions import class_names
from lightning_xai.reports.probe_pictures import probe_pictures
from lightning_xai.reports.report import Report, Run

_NAME = "images"
_LEVELS = 4
_OBJECT = 1
_KNOWN = ("key", "id", "group", "label", "predicted", "explained", "p explained", "p predicted")


@dataclass(frozen=True)
class ImageTable(Report):
    """Log a table per explained epoch with a row per image to Weights & Biases and MLflow.

    Columns: the content key of the image, which is the same in every run on the same data, so that tables of epochs and
    runs can be joined; id, group, label, prediction, explained class and probabilities; the picture; each explainer's
    scores. In Weights & Biases heat (in four levels of a map's own range) and the annotated object are overlays that
    can be switched on and off; MLflow has a file per picture. Every epoch has a table of its own, no table grows.
    A private run has no ids and no pictures. Other loggers have no place for tables: ``xai_images.csv`` is the same.

    Args:
        num_images: Rows, from the first image of the probe; None for all.
        pictures: Whether rows hold pictures, about 20 kB each at 128 pixels, in every epoch.
        size: Longer side of a picture in pixels, at most.
        class_names: Shown instead of class numbers; None for those that data or model know.
        mean: Per channel, what the images were normalised with, so that they are shown as they were.
        std: Per channel, likewise.
        channels: Shown of images that are no photographs; see `Grid`.

    Raises:
        ValueError: If a number is out of range.
    """

    num_images: int | None = None
    pictures: bool = True
    size: int = 128
    class_names: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    channels: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_count(self.size, "size", least=16)
        if self.num_images is not None:
            check_count(self.num_images, "num_images of the table")

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Log the table of every loader, if some logger has a place for it."""
        if not takes_tables(run.trainer):
            return
        for loader, found in epoch.loaders.items():
            names = self.class_names
            if names is None:
                names = class_names(run.trainer, epoch.stage, loader, found.probabilities.shape[1])
            count = min(len(found), self.num_images or len(found))
            with_pictures = self.pictures and not run.private
            pictures = self._pictures(found, run.probes[loader], count) if with_pictures else []
            scores = _scores(found)
            columns = [*_KNOWN, *(["picture"] if pictures else []), *scores]
            rows: list[list[Cell]] = []
            for place in range(count):
                known: list[Cell] = [*_known(found, place, names), *pictures[place : place + 1]]
                rows.append([*known, *(values[place] for values in scores.values())])
            log_table(
                run.trainer,
                run.keys.full(_NAME, loader=loader if run.several_loaders else None),
                columns,
                rows,
                moment_of(epoch),
            )

    def _pictures(self, found: Explained, probe: Probe, count: int) -> list[TablePicture]:
        settings = {"mean": self.mean, "std": self.std, "channels": self.channels, "size": self.size}
        drawn = probe_pictures(probe, **settings)[:count]  # type: ignore[arg-type]
        return [
            _with_overlays(picture, probe.items[place], {name: maps[place] for name, maps in found.heatmaps.items()})
            for place, picture in enumerate(drawn)
        ]


def _known(found: Explained, place: int, names: Sequence[str] | None) -> list[Cell]:
    label, predicted, target = (int(of[place]) for of in (found.labels, found.predicted, found.target))
    return [
        str(int(found.keys[place])),  # of 62 bits: as a number, trackers round it
        None if found.ids is None else found.ids[place],
        None if found.groups is None else found.groups[place],
        None if label < 0 else _name(names, label),
        _name(names, predicted),
        _name(names, target),
        float(found.probabilities[place, target]),
        float(found.probabilities[place, predicted]),
    ]


def _name(names: Sequence[str] | None, number: int) -> str:
    return names[number] if names is not None and number < len(names) else str(number)


def _scores(found: Explained) -> dict[str, list[float]]:
    """Return the values per image by column: the metric, with the explainer in front where there are several."""
    several = len(found.rows) > 1
    return {
        f"{explainer}/{metric}" if several else metric: found.metrics[metric].per_image(rows).tolist()
        for explainer, by_metric in found.rows.items()
        for metric, rows in by_metric.items()
    }


def _with_overlays(picture: Tensor, item: Item, heatmaps: dict[str, Tensor]) -> TablePicture:
    height, width = picture.shape[:2]
    overlays = {f"heat {name}": _levels(heatmap, (height, width)) for name, heatmap in heatmaps.items()}
    levels = {level: f"{level / _LEVELS:.0%} of the range" for level in range(1, _LEVELS + 1)}
    classes: dict[str, dict[int, str]] = dict.fromkeys(overlays, levels)
    if item.mask is not None:
        inside = F.interpolate(item.mask[None, None].float(), (height, width), mode="nearest-exact")[0, 0] > 0
        overlays["object"], classes["object"] = inside.byte() * _OBJECT, {_OBJECT: "object"}
    boxes = [] if item.boxes is None else [box * (height / item.image.shape[1]) for box in item.boxes]
    return TablePicture(picture, overlays, classes, [box for box in boxes if not bool(box.isnan().any())])


def _levels(heatmap: Tensor, size: tuple[int, int]) -> Tensor:
    """Return in which of four parts of its own range a map is at each pixel, uint8 (H, W); 0 for the lowest eighth."""
    known = ~heatmap.isnan()
    own = heatmap[: int(known.any(1).sum()), : int(known.any(0).sum())].float()
    if not own.numel():
        return torch.zeros(size, dtype=torch.uint8)
    resized = F.interpolate(own[None, None], size, mode="bilinear", align_corners=False)[0]
    return (normalized(resized)[0].nan_to_num(0.0) * _LEVELS).round().byte()
