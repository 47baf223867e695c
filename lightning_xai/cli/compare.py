"""``lightning-xai compare``: explainers by metrics, over models and images."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_xai.cli.printing import print_table
from lightning_xai.comparison.comparison import Comparison
from lightning_xai.comparison.figures.extremes import extremes
from lightning_xai.comparison.models import instantiated
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.running.task import SPLIT
from lightning_xai.comparison.storage.lease import SECONDS
from lightning_xai.comparison.table import ComparisonTable, FigureKind
from lightning_xai.loggers.files import write_file
from lightning_xai.model.readout import Readout

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace
    from matplotlib.figure import Figure

_MODELS = (
    "A LightningCLI's run folder or checkpoint, MyModule@a.ckpt, a class path, torchvision/resnet18, timm/resnet50."
)
_DATA = "A folder of images with a subfolder per class, or the path of a dataset's or DataModule's class."
_DEVICES = "How many devices, or which, of that kind, a process on each; this process alone if left out."
_Sources: Any = dict | list  # without the kinds of their values: what has a class path is made here
_OF_ALL: tuple[FigureKind, ...] = ("means", "ranks", "correlations")
_FIELDS = {"models": "model", "data": "data", "transforms": "transform", "targets": "target"}


def parser() -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import NonNegativeInt

    made = ArgumentParser(description="Compare explainers by metrics, over models and images. See docs/comparison.md.")
    made.add_argument("--config", action="config", help="A YAML file of these arguments.")
    made.add_argument("--models", type=_Sources, required=True, help=_MODELS)
    made.add_argument("--data", type=_Sources, required=True, help=_DATA)
    made.add_argument("--explainers", type=_Sources, required=True, help="Aliases, or classes with settings.")
    made.add_argument("--metrics", type=_Sources | None, help="Likewise; the monitor's default suite if left out.")
    made.add_argument(
        "--targets", type=list[int | str], default=["label"], help="label, predicted, top_2, least_probable, a class."
    )
    made.add_argument(
        "--transforms",
        type=_Sources | None,
        help="none, rotation:15, class paths of functions of a Sample; a dict of names to these or to classes.",
    )
    made.add_argument("--num_images", type=int | None, help="How many images of each data; all if left out.")
    made.add_argument("--output", type=str | None, default="xai_comparison", help="Folder of all files; null for none.")
    made.add_argument("--seed", type=int, default=0, help="Of the random control and of transforms.")
    made.add_argument("--device", type=str, default="auto", help="auto takes a GPU if there is one.")
    made.add_argument("--devices", type=int | str | list[int] | None, help=_DEVICES)
    made.add_argument("--strategy", type=str, default="auto", help="How Fabric starts them: ddp, ddp_spawn, ...")
    made.add_argument("--split", type=int, default=SPLIT, help="Evaluations from which a cell is split by images.")
    made.add_argument(
        "--lease", type=float, default=SECONDS, help="Seconds until the work of a dead process is taken over."
    )
    made.add_argument(
        "--num_curves", type=NonNegativeInt, default=0, help="Of how many images masking curves are drawn: evaluates."
    )
    made.add_argument("--dry-run", action="store_true", help="Only say what it would cost.")
    made.add_class_arguments(Readout, "readout", help="How the models are read.")
    return made


def prepared(arguments: Namespace) -> Callable[[], int]:
    """Return what runs the comparison, or tells what it would cost; arguments are checked and images loaded before."""
    comparison = Comparison(
        models=_each(arguments.models, _lazily),
        data=_each(arguments.data, instantiated),
        explainers=_each(arguments.explainers, instantiated),
        metrics=None if arguments.metrics is None else _each(arguments.metrics, instantiated),
        targets=arguments.targets,
        transforms=None if arguments.transforms is None else _each(arguments.transforms, instantiated),
        num_images=arguments.num_images,
        output=arguments.output,
        readout=arguments.readout,
        seed=arguments.seed,
        device=device_named(arguments.device),
        lease=arguments.lease,
        split=arguments.split,
    )
    comparison.cells()
    if arguments.dry_run:
        return partial(_forecast, comparison)
    run = comparison.on_devices(arguments.devices, arguments.strategy)
    return partial(_run, comparison, run, arguments.num_curves)


def _forecast(comparison: Comparison) -> int:
    sys.stdout.write(f"{comparison.forecast()}\n")
    return 0


def _run(comparison: Comparison, run: Callable[[], ComparisonTable], num_curves: int) -> int:
    """Run the comparison, print and write its tables; return 1 if a cell failed, else 0.

    Of several processes the first one does that: where another one fails, who started it may end them all.
    """
    table = run()
    if comparison.rank > 0:
        return 0
    print_table(table)
    if comparison.output is not None:
        _write(table, Path(comparison.output), num_curves)
    return 1 if table.errors else 0


def _lazily(source: Mapping[str, Any]) -> Callable[[], Any]:
    """Return what makes a model when it is first needed, with the name of its class."""
    made = partial(instantiated, source)
    vars(made)["__name__"] = str(source["class_path"]).rpartition(".")[2]
    return made


def _each(sources: Mapping[str, Any] | list[Any], made: Callable[[Any], Any]) -> Any:
    """Return sources in which those with a class path are made, or will be."""

    def one(source: Any) -> Any:
        return made(source) if isinstance(source, Mapping) and "class_path" in source else source

    if isinstance(sources, Mapping) and "class_path" not in sources:
        return {name: one(source) for name, source in sources.items()}
    return [one(source) for source in (sources if isinstance(sources, list) else [sources])]


def device_named(name: str) -> str:
    """Return the device that a word names; ``auto`` is a GPU if there is one."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(table: ComparisonTable, folder: Path, num_curves: int) -> None:
    """Write the tables and figures beside the values, each as a whole."""
    write_file(folder / "table.md", f"{table.to_markdown()}\n".encode())
    write_file(folder / "table.tex", f"{table.to_latex()}\n".encode())
    for name, records in _records(table).items():
        if records:
            records.to_csv(folder / f"{name}.csv")
    for name, figure in _figures(table, num_curves):
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
        write_file(folder / f"{name}.png", content.getvalue())


def _records(table: ComparisonTable) -> dict[str, Records]:
    """Return the answers by the names of their files."""
    return {
        "means": table.mean(),
        "spread": table.spread(),
        "accuracy": table.accuracy(),
        "differences_to_controls": table.difference(),
        "ranks": table.ranks(),
        "verdicts": table.verdicts(),
        "agreement_of_explainers": table.agreement("explainers"),
        "agreement_of_models": table.agreement("models"),
        "costs": table.costs(),
    }


def _figures(table: ComparisonTable, num_curves: int) -> Iterator[tuple[str, Figure]]:
    """Yield the figures that apply, by the names of their files, large ones once for each setting."""
    yield from ((kind, table.plot(kind)) for kind in _OF_ALL if table.values)
    if table.agreement("explainers"):
        yield "agreement_of_explainers", table.plot("agreement")
    if table.agreement("models"):
        yield "agreement_of_models", table.plot("agreement", between="models")
    yield from _large_figures(table, num_curves)


def _large_figures(table: ComparisonTable, num_curves: int) -> Iterator[tuple[str, Figure]]:
    """Yield those that have a panel for each metric or image."""
    for ending, part in _parts(table, "data", "transforms", "targets"):
        accuracies = part.accuracy()
        if len(accuracies) > 1 and all(row["images"] for row in accuracies):
            yield f"accuracy{ending}", part.plot("accuracy")
    for ending, part in _parts(table, "models", "data", "transforms", "targets"):
        if part.values:
            yield f"probability{ending}", part.plot("probability")
        if extremes(part, part.settings[0]):
            yield f"extremes{ending}", part.plot("extremes")
        if num_curves and part.heatmaps:
            yield f"curves{ending}", part.plot("curves", num_images=num_curves)


def _parts(table: ComparisonTable, *axes: str) -> Iterator[tuple[str, ComparisonTable]]:
    """Yield the parts of a table that have one thing each on some axes, with what ends the names of their files."""
    places = dict.fromkeys(tuple(vars(setting)[_FIELDS[axis]] for axis in axes) for setting in table.settings)
    for place in places:
        words = re.sub(r"[^\w=.-]+", "_", " ".join(map(str, place)))
        yield ("" if len(places) == 1 else f"_{words}"), table.only(**dict(zip(axes, place, strict=True)))
