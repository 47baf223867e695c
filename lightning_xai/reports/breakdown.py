"""What an explained epoch says about each class and each group: a picture, and a table where a logger has tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lightning_xai._checks import check_choice
from lightning_xai.loggers.log_picture import log_picture
from lightning_xai.loggers.log_table import Cell, log_table
from lightning_xai.probing.breakdown import Part, names_of, parts
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.probing.keys import Keys, probe_values
from lightning_xai.reports.captions import class_names
from lightning_xai.reports.report import Report, Run

_NAME = "breakdown"
_HEADLINE = ("faithfulness_gain", "faithfulness_skill", "pointing_game")
_ACCURACY = "probe_accuracy"
_COLUMNS = ("epoch", "by", "name", "metric", "value", "error", "images", "undefined")


@dataclass(frozen=True)
class Breakdown(Report):
    """Show values by class and by group, where the monitor has ``groups=`` or ``breakdown=``; else nothing.

    A picture per explained epoch, ``<prefix>/breakdown``: a point with its standard error for each class and group, the
    value of all images as a line, the model's accuracy on these images beside them. Weights & Biases and MLflow also
    get these numbers as a table, ``<prefix>/breakdown_table``; ``xai_breakdown.csv`` holds those of every metric.

    Args:
        metrics: Names such as ``"faithfulness_gain"``; None for those of the monitor's ``breakdown=``, or without any
            those of ``faithfulness_gain``, ``faithfulness_skill`` and ``pointing_game`` that are scored, or else all.

    Raises:
        ValueError: Before anything runs, if a metric is not scored.
    """

    metrics: str | Sequence[str] | None = None

    def check_keys(self, keys: Keys) -> None:
        """Raise ValueError if a metric is none of those that are scored."""
        for name in _listed(self.metrics):
            check_choice(name, keys.names, "metrics")

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Draw and list the classes and groups of every loader and explainer."""
        for loader, found in epoch.loaders.items():
            if not run.keys.breakdown and found.groups is None:
                continue
            index = loader if run.several_loaders else None
            names = class_names(run.trainer, epoch.stage, loader, found.probabilities.shape[1])
            for explainer in found.rows:
                rows = [_named(row, names) for row in self._rows(epoch, found, explainer, run.keys)]
                if rows:
                    self._tell(rows, epoch, run, run.keys.full(_NAME, explainer=explainer, loader=index))

    def _rows(self, epoch: ExplainedEpoch, found: Explained, explainer: str, keys: Keys) -> list[Part]:
        """Return the accuracy and the values of all images, then those of each class and group."""
        scored = names_of(found, explainer)
        wanted = _listed(self.metrics) or keys.breakdown or [one for one in _HEADLINE if one in scored] or scored
        names = [name for name in wanted if name in scored]
        whole = [Part("all", "all", name, found.scores(name, explainer).estimate(), len(found)) for name in names]
        known = list(parts(found, explainer, names))
        order = {(row.by, row.name): place for place, row in enumerate(known)}
        accuracies = sorted(_accuracies(epoch, found), key=lambda row: order.get((row.by, row.name), -1))
        return [*accuracies, *whole, *known]

    def _tell(self, rows: Sequence[Part], epoch: ExplainedEpoch, run: Run, name: str) -> None:
        from lightning_xai.visualization.alignment import as_picture
        from lightning_xai.visualization.breakdown import plot_breakdown

        title = f"epoch {epoch.epoch} · step {epoch.step}"
        log_picture(
            run.trainer,
            name,
            as_picture(plot_breakdown(rows, title)),
            caption=title,
            directory=run.folder,
            moment=(epoch.epoch, epoch.step),
        )
        rows_of_table = [[epoch.epoch, *_cells(row)] for row in rows]
        log_table(run.trainer, f"{name}_table", _COLUMNS, rows_of_table, (epoch.epoch, epoch.step))


def _accuracies(epoch: ExplainedEpoch, found: Explained) -> list[Part]:
    """Return the model's accuracy on all images of the probe, and on those of each class and group."""
    of_image = ("labels", "target", "predicted", "probabilities")
    places = {("all", "all"): list(range(len(found)))}
    for by, names in (("class", list(map(str, found.labels.tolist()))), ("group", found.groups or ())):
        for place, name in enumerate(names):
            places.setdefault((by, name), []).append(place)
    rows = []
    for (by, name), some in places.items():
        part = replace(found, **{one: getattr(found, one)[torch.tensor(some)] for one in of_image})
        accuracy = probe_values(part, epoch.task)[_ACCURACY]
        if math.isfinite(accuracy.value) and name:
            rows.append(Part(by, name, _ACCURACY, accuracy, len(some)))
    return rows


def _named(row: Part, names: Sequence[str] | None) -> Part:
    """Return a row with the name of its class in place of its index, if that is known."""
    known = row.by == "class" and names is not None and int(row.name) < len(names)
    return replace(row, name=names[int(row.name)]) if known and names is not None else row


def _cells(row: Part) -> list[Cell]:
    one = row.estimate
    return [row.by, row.name, row.metric, one.value, one.error, row.num_images, one.undefined]


def _listed(names: str | Sequence[str] | None) -> Sequence[str]:
    return [names] if isinstance(names, str) else names or []
