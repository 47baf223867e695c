"""The report of a run: one file that opens anywhere, with what to read first, curves, pictures and every number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from lightning_xai._checks import check_count
from lightning_xai.loggers.files import joined, write_file
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.alignment import Alignment
from lightning_xai.probing.explained import Explained, ExplainedEpoch
from lightning_xai.reports.accuracy_alignment import may_be_accuracy
from lightning_xai.reports.html import run_pictures
from lightning_xai.reports.html.charts import Curve, Mark, line_chart, scatter
from lightning_xai.reports.html.run_numbers import (
    Score,
    accuracy_of,
    alignments_of,
    headlines,
    parts_of,
    scores_of,
)
from lightning_xai.reports.html.run_pictures import Picture
from lightning_xai.reports.html.sentences import sentences
from lightning_xai.reports.report import Report, Run
from lightning_xai.reports.saved_run import SavedRun, load_run

_MIB = 1 << 20
_MARKUP = 300  # bytes around a picture
_ANIMATED, _OF_IMAGES, _STRIPS = "animated pictures", "the pictures of single images", "filmstrips"

PicturesOfImages: TypeAlias = Mapping[tuple[int, str], Mapping[int, Picture]]
"""Loader and explainer -> place of an image in the probe -> its picture."""


@dataclass(frozen=True)
class HtmlReport(Report):
    """Write ``<prefix>_report.html`` into the run's folder when a fit or a test ends, and the same numbers as JSON.

    One file without scripts that needs no network, for light and dark screens and for paper: what to read first,
    curves with errors, how scores go with accuracy, filmstrips, every explained image with its scores, settings. It is
    made of what `Maps` kept, which has to be among the reports; `write_report(folder)` makes it at any other time.
    A private run has no pictures and no ids.

    Args:
        largest: Size of the file in MiB. Where pictures would exceed it, the animated ones are left out first, then
            those of single images, and the page says so.

    Raises:
        ValueError: If ``largest`` is below 1.
    """

    reads_logged: ClassVar[bool] = True

    largest: int = 20

    def __post_init__(self) -> None:
        """Check the size."""
        check_count(self.largest, "largest")

    def wants_logged(self, name: str) -> bool:
        """Keep what may be the accuracy."""
        return may_be_accuracy(name)

    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Wait for the end."""

    def end_validation(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Write the report of a test or a validation outside a fit."""
        if epoch.stage != "fit":
            self._write(run, epoch.stage)

    def end_fit(self, run: Run) -> None:
        """Write the report of a fit."""
        if run.epochs[-1].stage == "fit":
            self._write(run, "fit")

    def _write(self, run: Run, stage: str) -> None:
        known: Literal["fit", "validate", "test"] = "test" if stage == "test" else "fit"
        if stage == "validate":
            known = "validate"
        metrics = run.keys.plan.metrics(annotated=True)
        saved = load_run(run.folder, prefix=run.keys.prefix, stage=known, metrics=metrics)
        write_report(saved, largest=self.largest)


def write_report(run: SavedRun | str | Path, path: str | Path | None = None, *, largest: int = 20) -> str | Path:
    """Write the report of a finished or interrupted run as one HTML file, and its numbers as JSON beside it.

    Args:
        run: The run, or its folder.
        path: Of the HTML file; ``<prefix>_report.html`` in the run's folder if None.
        largest: Size of the file in MiB; see `HtmlReport`.

    Returns:
        The path of the HTML file.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If nothing was explained, or ``largest`` is below 1.
    """
    check_count(largest, "largest")
    saved = run if isinstance(run, SavedRun) else load_run(run)
    if not saved.epochs:
        raise ValueError(f"Expected `run` to hold at least one explained epoch, but {saved.folder} has none.")
    suffix = "" if saved.stage == "fit" else f"_{saved.stage}"
    path = joined(saved.folder, f"{saved.prefix}_report{suffix}.html") if path is None else path
    scores = scores_of(saved)
    alignments = alignments_of(saved, scores)
    numbers = _numbers(saved, scores, alignments)
    write_file(path, _page(saved, scores, alignments, numbers, largest * _MIB).encode())
    write_file(str(path).removesuffix(".html") + ".json", json.dumps(numbers, indent=1).encode())
    return path


def _numbers(run: SavedRun, scores: Sequence[Score], alignments: Sequence[Alignment]) -> dict[str, Any]:
    """Return everything that the page says but the pictures, as plain JSON: NaN is null."""
    return {
        "run": str(run.folder),
        "stage": run.stage,
        "first": sentences(run, scores, alignments),
        "scores": [
            {
                "name": score.name,
                "explainer": score.explainer,
                "loader": score.loader,
                "higher_is_better": score.higher_is_better,
                "epochs": [{"epoch": epoch.epoch, "step": epoch.step, **_plain(one)} for epoch, one in score.epochs],
                "change": None if score.change is None else _plain(score.change),
            }
            for score in scores
        ],
        "accuracy": [dict(_alignment(one)) for one in alignments],
        "parts": [
            {"explainer": title, **row, "values": dict(zip(names, _plain_each(row["values"]), strict=True))}
            for title, names, rows in parts_of(run, scores)
            for row in rows
        ],
        "settings": {**run.settings, "explainers": dict(run.explainers), "metrics": _metrics(run)},
        "versions": dict(run.versions),
        "cost": {
            "seconds": sum(epoch.seconds for epoch in run.epochs if epoch.seconds == epoch.seconds),
            "model_evaluations": sum(epoch.evaluations for epoch in run.epochs),
            "explained_epochs": len(run.epochs),
        },
    }


def _plain(one: Estimate) -> dict[str, float | int | None]:
    """Return an estimate as JSON can hold it."""
    numbers = {"value": one.value, "standard_error": one.error}
    return {**{name: value if value == value else None for name, value in numbers.items()}, "undefined": one.undefined}


def _plain_each(estimates: Sequence[Estimate | None]) -> list[dict[str, float | int | None] | None]:
    return [None if one is None else _plain(one) for one in estimates]


def _alignment(one: Alignment) -> Iterator[tuple[str, Any]]:
    found = one.correlation()
    yield from {"score": one.score, "accuracy": one.accuracy, "epochs": len(one.points)}.items()
    yield "spearman", None if found is None else {"value": found.value, "low": found.low, "high": found.high}
    yield "front", [point.epoch for point in one.front()]


def _metrics(run: SavedRun) -> dict[str, str]:
    found = {name: repr(metric) for one in run.epochs[-1].loaders.values() for name, metric in one.metrics.items()}
    return {**found, **dict.fromkeys(run.unknown_metrics, "settings that no file can hold")}


def _page(
    run: SavedRun, scores: Sequence[Score], alignments: Sequence[Alignment], numbers: Mapping[str, Any], largest: int
) -> str:
    from jinja2 import Environment, PackageLoader

    templates = Environment(loader=PackageLoader("lightning_xai.reports.html"), autoescape=True, trim_blocks=True)
    page = partial(
        templates.get_template("report.html.j2").render,
        run=run,
        numbers=numbers,
        charts=list(_charts(run, scores)),
        scatters=[(one, _scatter(one), one.correlation()) for one in alignments],
        scores=scores,
        parts=list(parts_of(run, scores)),
        shown=_shown,
    )
    failures = [one for one in run_pictures.failures(run) if len(one.source) < largest // 4]
    page = partial(page, failures=failures)
    without = page(strips=[], films=[], images=list(_image_rows(run, {})), left_out=[_ANIMATED, _OF_IMAGES, _STRIPS])
    room = largest - len(without.encode()) - _MARKUP
    strips, films, images, left_out = _within(room, run_pictures.strips(run), run_pictures.films(run), _of_images(run))
    return page(strips=strips, films=films, images=list(_image_rows(run, images)), left_out=left_out)


def _of_images(run: SavedRun) -> PicturesOfImages:
    last = run.epochs[-1]
    return {
        (loader, explainer): run_pictures.images(run, loader, explainer)
        for loader, found in last.loaders.items()
        for explainer in found.rows
    }


def _within(
    room: int, strips: list[Picture], films: list[Picture], images: PicturesOfImages
) -> tuple[list[Picture], list[Picture], PicturesOfImages, list[str]]:
    """Return the pictures that fit into so many bytes, and what was left out: what says least for its size first."""
    of_images = [one for by_place in images.values() for one in by_place.values()]
    left_out: list[str] = []
    if films and _size([*strips, *films, *of_images]) > room:
        films = []
        left_out.append(_ANIMATED)
    if of_images and _size([*strips, *films, *of_images]) > room:
        images, of_images = {}, []
        left_out.append(_OF_IMAGES)
    if strips and _size([*strips, *films, *of_images]) > room:
        strips = []
        left_out.append(_STRIPS)
    return strips, films, images, left_out


def _size(pictures: Sequence[Picture]) -> int:
    return sum(len(one.source) + len(one.text) + _MARKUP for one in pictures)


def _charts(run: SavedRun, scores: Sequence[Score]) -> Iterator[tuple[str, str]]:
    """Yield title and SVG of accuracy, then of each headline score with a curve per explainer and loader."""
    several = len(run.epochs[-1].loaders) > 1
    for loader in sorted(run.epochs[-1].loaders):
        name, accuracy = accuracy_of(run, loader)
        if accuracy:
            marks = [Mark(epoch.epoch, value) for epoch, value in accuracy]
            yield name, line_chart([Curve(name, marks)], name)
    for name in headlines(scores):
        curves = [
            Curve(
                f"{score.explainer}, loader {score.loader}" if several else score.explainer,
                [Mark(epoch.epoch, one.value, one.error) for epoch, one in score.epochs],
            )
            for score in scores
            if score.name == name
        ]
        yield name, line_chart(curves, name)


def _scatter(one: Alignment) -> str:
    marks = [Mark(point.accuracy, point.score.value, point.score.error) for point in one.points]
    title = f"{one.score} over {one.accuracy}"
    return scatter(Curve(one.score, marks), title, one.accuracy, [point.epoch for point in one.points])


def _image_rows(run: SavedRun, pictures: PicturesOfImages) -> Iterator[tuple[str, list[str], list[dict[str, Any]]]]:
    """Yield title, names of scores, and a row per image of the last epoch, for each loader and explainer."""
    last = run.epochs[-1]
    for loader, found in last.loaders.items():
        for explainer, by_metric in found.rows.items():
            values = {name: found.metrics[name].per_image(rows).tolist() for name, rows in by_metric.items()}
            rows = [
                {
                    "picture": pictures.get((loader, explainer), {}).get(place),
                    "id": "" if found.ids is None else found.ids[place],
                    "key": int(found.keys[place]),
                    "label": "" if int(found.labels[place]) < 0 else run.class_name(loader, int(found.labels[place])),
                    "predicted": run.class_name(loader, int(found.predicted[place])),
                    "right": _is_right(found, place, last.task),
                    "values": [values[name][place] for name in values],
                }
                for place in range(len(found))
            ]
            yield explainer if len(last.loaders) == 1 else f"{explainer}, loader {loader}", list(values), rows


def _is_right(found: Explained, place: int, task: str) -> bool | None:
    """Return whether the model is right about an image; None where nobody knows."""
    label = int(found.labels[place])
    if label < 0:
        return None
    if task != "multilabel":
        return label == int(found.predicted[place])
    # another class of the image may be more probable; a private run keeps no probabilities
    return bool(found.probabilities[place, label] > 0.5) if found.probabilities.shape[1] else None


def _shown(value: float | Estimate | None) -> str:
    """Return a number as tables show it; an em dash where there is none."""
    if value is None:
        return "—"
    if isinstance(value, Estimate):
        error = "" if value.error != value.error else f" ± {value.error:.3f}"
        return "—" if value.value != value.value else f"{value.value:.3f}{error}"
    return "—" if value != value else f"{value:.3f}"
