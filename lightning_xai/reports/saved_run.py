"""A finished run, read back from its folder, and two runs compared on the images that both explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from lightning_xai._checks import check_choice
from lightning_xai._settings import restored
from lightning_xai.loggers.files import exists, joined, read_file
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.probing.epoch_state import epoch_of
from lightning_xai.probing.explained import ExplainedEpoch, Moment, moment_of
from lightning_xai.probing.image_scores import difference
from lightning_xai.reports.maps import INDEX, VERSION, loaded_tensors, maps_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_FOLDERS = 5  # that an error names


@dataclass(frozen=True, eq=False)
class SavedRun:
    """What a run has left in its folder.

    Attributes:
        folder: Where it was.
        epochs: Every explained epoch in order, with heatmaps and probabilities.
        logged: Epoch and step -> what was logged beside the explanation, such as ``val_acc``.
        pictures: Loader's index -> content key of an image -> the image, uint8 (h, w, 3); empty where none were kept.
        class_names: Loader's index -> names of the classes, where they were known.
        explainers: Name -> the explainer with its settings, in words.
        prefix: The monitor's.
        stage: ``"fit"``, ``"validate"`` or ``"test"``.
        settings: Of the monitor: ``target``, ``num_images``, ``seed``.
        versions: Package -> version with which the last epoch was explained.
        unknown_metrics: Those whose settings no file can hold: epochs have their means but not their rows.
    """

    folder: str | Path
    epochs: list[ExplainedEpoch]
    logged: Mapping[Moment, Mapping[str, float]] = field(default_factory=dict)
    pictures: Mapping[int, Mapping[int, Tensor]] = field(default_factory=dict)
    class_names: Mapping[int, list[str]] = field(default_factory=dict)
    explainers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "xai"
    stage: str = "fit"
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    unknown_metrics: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last two parts of the folder, such as ``"lightning_logs/version_3"``."""
        return "/".join(Path(self.folder).parts[-2:])

    def class_name(self, loader: int, number: int) -> str:
        """Return the name of a class, its number where names are not known."""
        names = self.class_names.get(loader, [])
        return names[number] if 0 <= number < len(names) else str(number)


def load_run(
    folder: str | Path,
    *,
    prefix: str = "xai",
    stage: Literal["fit", "validate", "test"] = "fit",
    metrics: Mapping[str, ExplanationMetric] | None = None,
) -> SavedRun:
    """Read the explained epochs of a finished or interrupted run, as its report `Maps` kept them.

    Args:
        folder: The run's folder, a local one or the URL of a remote one: that which holds ``xai_maps/``.
        prefix: The monitor's.
        stage: What was run: ``"fit"``, ``"validate"`` or ``"test"``.
        metrics: By name, such as have settings that no file can hold: a function, a tensor. Without them their rows are
            left out, and `SavedRun.unknown_metrics` names them.

    Raises:
        FileNotFoundError: If the folder holds no such run; the message names folders below it that do.
        ValueError: If the files are of a newer version, or are none of ours.

    Example:
        >>> load_run("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: Expected `folder` to hold xai_maps/index.json, which the report Maps() writes, but nowhere...
    """
    check_choice(stage, ("fit", "validate", "test"), "stage")
    kept = maps_folder(folder, prefix, stage)
    if not exists(joined(kept, INDEX)):
        raise FileNotFoundError(
            f"Expected `folder` to hold {Path(kept).name}/{INDEX}, which the report Maps() writes, but {folder} does "
            f"not.{_said_of_others(folder, Path(kept).name)}"
        )
    try:
        index = _index(joined(kept, INDEX))
        known = _metrics(index, metrics or {})
        epochs = [epoch_of(loaded_tensors(joined(kept, str(one["file"]))), known) for one in index["epochs"]]
        logged = {moment_of(epoch): dict(one["logged"]) for epoch, one in zip(epochs, index["epochs"], strict=True)}
        pictures = {int(loader): _pictures(joined(kept, str(file))) for loader, file in index["pictures"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"Expected the files in {kept} to be what Maps() wrote, but {error!r}.") from error
    return SavedRun(
        folder,
        epochs,
        logged,
        {loader: found for loader, found in pictures.items() if found},
        {int(loader): list(map(str, names)) for loader, names in index["class_names"].items()},
        dict(index["explainers"]),
        prefix,
        stage,
        dict(index["settings"]),
        dict(index["versions"]),
        tuple(name for name in index["metrics"] if name not in known),
    )


def _index(path: str | Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads(read_file(path))
    if index["version"] > VERSION:
        raise ValueError(f"they are of version {index['version']}, and this lightning-xai reads up to {VERSION}")
    return index


def _metrics(index: Mapping[str, Any], given: Mapping[str, ExplanationMetric]) -> dict[str, ExplanationMetric]:
    """Return the metrics of a run by name: those that are given, else as their settings say."""
    described = {name: state for name, state in index["metrics"].items() if state is not None and name not in given}
    return {**{name: restored(state, ExplanationMetric) for name, state in described.items()}, **given}


def _pictures(path: str | Path) -> dict[int, Tensor]:
    """Return pictures by the key of their image; none where the file is missing."""
    if not exists(path):
        return {}
    found = loaded_tensors(path)
    return dict(zip(found["keys"].tolist(), found["pictures"], strict=True))


def _said_of_others(folder: str | Path, name: str) -> str:
    """Return a sentence that names folders below that hold a run; empty without any."""
    if "://" in str(folder):
        return ""
    found = sorted(str(path.parent.parent) for path in Path(folder).glob(f"*/**/{name}/{INDEX}"))
    return f" There are runs in {', '.join(found[:_MOST_FOLDERS])}." if found else ""


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Two runs, compared on the images that both explained.

    Attributes:
        first: The run that is subtracted.
        second: The other.
        score: Name of a metric, or of its gain.
        explainer: Which; None for the only one.
        loader: Index of the loader.
        differences: Epoch -> how much the second run's score exceeds the first's there, paired image by image, and the
            standard error; of the epochs that both have explained and in which they share images.
    """

    first: SavedRun
    second: SavedRun
    score: str
    explainer: str | None
    loader: int
    differences: Mapping[int, Estimate]

    def plot(self) -> Figure:
        """Draw both curves with their standard errors, and the paired difference below them."""
        from lightning_xai.visualization.run_curves import plot_runs

        curves = {
            name: {epoch: one.scores(self.score, self.explainer, self.loader).estimate() for epoch, one in run.items()}
            for name, run in zip(self._names(), map(_by_epoch, (self.first, self.second)), strict=True)
        }
        return plot_runs(curves, dict(self.differences), self.score)

    def _names(self) -> tuple[str, str]:
        first, second = self.first.name, self.second.name
        return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


def compare_runs(
    first: SavedRun | str | Path,
    second: SavedRun | str | Path,
    score: str = "faithfulness_gain",
    *,
    explainer: str | None = None,
    loader: int = 0,
) -> RunComparison:
    """Compare a score of two runs, paired by the content of the explained images.

    Runs on the same data choose the same images, whatever their seeds, batches and order. Images that only one of them
    explained, or for another class, are left out.

    Args:
        first: A run, or its folder.
        second: Likewise; differences are second minus first.
        score: Name of a metric that both have, or of its gain: ``"faithfulness_gain"``.
        explainer: Which; None for the only one.
        loader: Index of the loader.

    Raises:
        ValueError: If a run has no such score, or its metric has other settings in the other run, or no epoch has
            images that both runs explained.
    """
    runs = [run if isinstance(run, SavedRun) else load_run(run) for run in (first, second)]
    epochs = [_by_epoch(run) for run in runs]
    differences = {}
    for epoch in sorted(set(epochs[0]) & set(epochs[1])):
        before, after = (of[epoch].scores(score, explainer, loader) for of in epochs)
        found = difference(after, before)
        if found.value == found.value or found.undefined:
            differences[epoch] = found
    if not differences:
        explained = [sorted(of) for of in epochs]
        raise ValueError(
            f"Expected two runs that explained the same images in some epoch, but {runs[0].name} explained epochs "
            f"{explained[0]}, {runs[1].name} epochs {explained[1]}, and none with shared images."
        )
    return RunComparison(runs[0], runs[1], score, explainer, loader, differences)


def _by_epoch(run: SavedRun) -> dict[int, ExplainedEpoch]:
    """Return the last explanation in each epoch."""
    return {one.epoch: one for one in run.epochs if one.loaders}
