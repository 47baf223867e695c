"""The numbers of an explained epoch: in every logger, and in files with a row per epoch and a row per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor

from lightning_xai.loggers.files import joined, write_file
from lightning_xai.probing.breakdown import names_of, parts
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.reports.report import Report, Run

_OF_IMAGE = ("image", "id", "label", "target", "predicted")
_MOMENT, _SCORED = ("epoch", "step", "loader"), ("explainer", "metric", "value")
_COLUMNS = (*_MOMENT, *_OF_IMAGE, *_SCORED)
_COLUMNS_WITH_GROUPS = (*_MOMENT, *_OF_IMAGE, "group", *_SCORED)
_BREAKDOWN = (*_MOMENT, "explainer", "metric", "by", "name", "value", "error", "images", "undefined")
_CONTROL = "control"

_Columns: TypeAlias = tuple[str, ...]
_Rows: TypeAlias = Callable[[Explained], Iterator[Mapping[str, object]]]

_texts: WeakKeyDictionary[ExplainedEpoch, dict[_Columns, str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Scalars(Report):
    """Log every value beside the user's own, in Lightning's own row.

    Monitors such as `EarlyStopping` see the values whether or not this report is there.
    """

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Hand all values to the loggers."""
        run.to_loggers.update(epoch.estimates)


@dataclass(frozen=True)
class History(Report):
    """Write ``xai_history.csv`` (means and standard errors) and ``xai_images.csv`` (a row per epoch, image and metric).

    Where the monitor has ``groups=`` or ``breakdown=``, ``xai_breakdown.csv`` holds a row per epoch, explainer, metric
    and class or group: value, standard error, number of images and how many of them are undefined.

    Both are written whole and in one piece, so that a reader never sees half a file; after `trainer.validate` and
    `trainer.test` the names end in ``_validate`` and ``_test``, and rows name the checkpoint. Files of an earlier
    run in the same folder stay: ours then go to ``<prefix>-v1``, ``-v2`` … below it.

    Args:
        images: Whether to write ``xai_images.csv``: about 70 bytes per epoch, image, explainer and metric. ``image`` is
            the key of its content, ``id`` what the batch calls it (`Sample.ids`), empty if it does not or if
            ``private=True``, ``group`` its group where images have some.
    """

    images: bool = True

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Write all epochs so far."""
        suffix = "" if epoch.stage == "fit" else f"_{epoch.stage}"
        prefix = run.keys.prefix
        rows = [_with_checkpoint(row) for row in run.epochs]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_file(joined(run.folder, f"{prefix}_history{suffix}.csv"), _text(columns, rows).encode())
        grouped = any(found.groups is not None for epoch in run.epochs for found in epoch.loaders.values())
        if self.images:
            text = _whole(_COLUMNS_WITH_GROUPS if grouped else _COLUMNS, run.epochs, _image_rows)
            write_file(joined(run.folder, f"{prefix}_images{suffix}.csv"), text.encode())
        if grouped or run.keys.breakdown:
            text = _whole(_BREAKDOWN, run.epochs, _breakdown_rows)
            write_file(joined(run.folder, f"{prefix}_breakdown{suffix}.csv"), text.encode())


def _with_checkpoint(epoch: ExplainedEpoch) -> Mapping[str, object]:
    if epoch.checkpoint is None:
        return epoch
    return {"checkpoint": PurePath(epoch.checkpoint).name, **epoch}


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, header: bool = True) -> str:
    """Return CSV; what a row lacks is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _whole(columns: _Columns, epochs: Iterable[ExplainedEpoch], rows: _Rows) -> str:
    """Return a file; the rows of an epoch are made once, because they never change."""
    for epoch in epochs:
        texts = _texts.setdefault(epoch, {})
        if columns not in texts:
            known = (
                {**dict(zip(_MOMENT, (epoch.epoch, epoch.step, loader), strict=True)), **row}
                for loader, found in epoch.loaders.items()
                for row in rows(found)
            )
            texts[columns] = _text(columns, ({name: row[name] for name in columns} for row in known), header=False)
    return _text(columns, []) + "".join(_texts[epoch][columns] for epoch in epochs)


def _image_rows(found: Explained) -> Iterator[Mapping[str, object]]:
    nothing = [""] * len(found)
    columns = {
        "image": found.keys.tolist(),
        "id": found.ids or nothing,
        "label": found.labels.tolist(),
        "target": found.target.tolist(),
        "predicted": found.predicted.tolist(),
        "group": found.groups or nothing,
    }
    for explainer, by_metric in (*found.rows.items(), (_CONTROL, found.control_rows)):
        for metric, rows in by_metric.items():
            for place, value in enumerate(_per_image(found, metric, rows)):
                scored = {"explainer": explainer, "metric": metric, "value": "" if value != value else value}
                yield {name: column[place] for name, column in columns.items()} | scored


def _breakdown_rows(found: Explained) -> Iterator[Mapping[str, object]]:
    for explainer in found.rows:
        for part in parts(found, explainer, names_of(found, explainer)):
            which = {"explainer": explainer, "metric": part.metric, "by": part.by, "name": part.name}
            one = part.estimate
            numbers = {"value": one.value, "error": one.error, "images": part.num_images, "undefined": one.undefined}
            yield which | {key: "" if value != value else value for key, value in numbers.items()}


def _per_image(found: Explained, metric: str, rows: Tensor) -> list[float]:
    values: list[float] = found.metrics[metric].per_image(rows).tolist()
    return values
