"""``lightning-xai list``: explainers, metrics, transforms, studies, the layers of a model."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lightning_xai.cli.layers import layers_of
from lightning_xai.comparison.models import loaded_model
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.transforms.registry import TRANSFORMS
from lightning_xai.explainers.registry import EXPLAINERS
from lightning_xai.metrics.registry import METRICS
from lightning_xai.studies.declaration import list_studies
from lightning_xai.studies.study import Study

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

NEEDS = {
    "masks": "masks or boxes",
    "regions": "named regions",
    "explainer": "the explainer",
    "previous_heatmaps": "earlier heatmaps",
    "other_heatmaps": "other explainers",
}
"""What a metric reads beside images and heatmaps, in words."""
_BETTER = {True: "higher", False: "lower", None: "–"}


def parser() -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from jsonargparse import ArgumentParser

    made = ArgumentParser(description="List what there is, with one line about each.")
    made.add_argument(
        "what", choices=["explainers", "metrics", "transforms", "studies", "layers"], help="What to list."
    )
    made.add_argument("--model", type=str | None, help="Whose layers, in the words of `compare --models`.")
    made.add_argument(
        "--image_size", type=list[int], default=[3, 224, 224], help="Channels, height, width of its images."
    )
    return made


def prepared(arguments: Namespace) -> Callable[[], int]:
    """Return what prints the list and returns 0.

    Raises:
        ValueError: If layers are asked for without a model.
    """
    if arguments.what == "layers":
        if arguments.model is None:
            raise ValueError("Expected `--model` with `list layers`, such as --model torchvision/resnet18.")
        records = layers_of(loaded_model(arguments.model), tuple(arguments.image_size))
    else:
        kinds = {"explainers": _explainers, "metrics": _metrics, "transforms": _transforms, "studies": _studies}
        records = kinds[arguments.what]()
    return partial(_print, records)


def _print(records: Records) -> int:
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(records)
    else:  # another program reads it
        sys.stdout.write(records.to_markdown() + "\n")
    return 0


def _explainers() -> Records:
    rows = []
    for alias in EXPLAINERS.names():
        explainer = EXPLAINERS.load(alias)
        rows.append((alias, explainer.family, _first_line(explainer), explainer.refuses or None))
    return Records(("alias", "family", "what it does", "not for"), tuple(rows))


def _metrics() -> Records:
    rows = []
    for alias in METRICS.names():
        metric = METRICS.load(alias)()
        needs = ", ".join(NEEDS.get(need, need) for need in sorted(metric.needs)) or None
        better = _BETTER[metric.higher_is_better]
        rows.append((alias, metric.key, metric.family, _first_line(type(metric)), better, needs))
    return Records(("alias", "name in tables", "family", "what it asks", "better", "needs"), tuple(rows))


def _transforms() -> Records:
    rows = []
    for alias in TRANSFORMS.names():
        transform = TRANSFORMS.load(alias)
        parameters = inspect.signature(transform).parameters.values()
        settings = [one.name + ("" if one.default is one.empty else f"={one.default!r}") for one in parameters]
        rows.append((alias, _first_line(transform), ", ".join(settings), "yes" if transform.needs_model else None))
    return Records(("alias", "what it does", "settings", "for each model by itself"), tuple(rows))


def _studies() -> Records:
    rows = []
    for name in list_studies():
        study = Study.load(name)
        rows.append((name, study.title, study.source, study.summary))
    return Records(("name", "paper", "source", "what the small scale runs"), tuple(rows))


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]
