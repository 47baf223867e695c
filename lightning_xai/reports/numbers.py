"""The numbers of an explained epoch: in every logger, and in files with a row per epoch and a row per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from weakref import WeakKeyDictionary

from torch import Tensor

from lightning_xai.loggers.files import joined, write_file
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.reports.report import Report, Run

_COLUMNS = ("epoch", "step", "loader", "image", "id", "label", "target", "predicted", "explainer", "metric", "value")
_CONTROL = "control"

_rows_of_images: WeakKeyDictionary[ExplainedEpoch, str] = WeakKeyDictionary()


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

    Both are written whole and in one piece, so that a reader never sees half a file; after `trainer.validate` and
    `trainer.test` the names end in ``_validate`` and ``_test``, and rows name the checkpoint. Files of an earlier
    run in the same folder stay: ours then go to ``<prefix>-v1``, ``-v2`` … below it.

    Args:
        images: Whether to write ``xai_images.csv``: about 70 bytes per epoch, image, explainer and metric. ``image`` is
            the key of its content, ``id`` what the batch calls it (`Sample.ids`), empty if it does not or if
            ``private=True``.
    """

    images: bool = True

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Write all epochs so far."""
        suffix = "" if epoch.stage == "fit" else f"_{epoch.stage}"
        prefix = run.keys.prefix
        rows = [_with_checkpoint(row) for row in run.epochs]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_file(joined(run.folder, f"{prefix}_history{suffix}.csv"), _text(columns, rows).encode())
        if self.images:
            text = _text(_COLUMNS, []) + "".join(map(_image_rows, run.epochs))
            write_file(joined(run.folder, f"{prefix}_images{suffix}.csv"), text.encode())


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


def _image_rows(epoch: ExplainedEpoch) -> str:
    """Return the rows about one epoch; made once, because they never change."""
    if epoch not in _rows_of_images:
        rows = (row for loader, found in epoch.loaders.items() for row in _rows(epoch, loader, found))
        _rows_of_images[epoch] = _text(_COLUMNS, rows, header=False)
    return _rows_of_images[epoch]


def _rows(epoch: ExplainedEpoch, loader: int, found: Explained) -> Iterator[dict[str, object]]:
    ids = found.ids or [""] * len(found)
    columns = [found.keys.tolist(), ids, found.labels.tolist(), found.target.tolist(), found.predicted.tolist()]
    for explainer, by_metric in (*found.rows.items(), (_CONTROL, found.control_rows)):
        for metric, rows in by_metric.items():
            for place, value in enumerate(_per_image(found, metric, rows)):
                known = (epoch.epoch, epoch.step, loader, *(column[place] for column in columns), explainer, metric)
                yield dict(zip(_COLUMNS, (*known, "" if value != value else value), strict=True))


def _per_image(found: Explained, metric: str, rows: Tensor) -> list[float]:
    values: list[float] = found.metrics[metric].per_image(rows).tolist()
    return values
