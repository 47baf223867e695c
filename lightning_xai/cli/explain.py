"""``lightning-xai explain``: the report of finished checkpoints, in the order of their training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning_xai._lightning import trainer_for
from lightning_xai.callbacks.explanation_monitor import ExplanationMonitor
from lightning_xai.comparison.checkpoints import in_order_of_training
from lightning_xai.comparison.models import cli_config, instantiated, loaded_model
from lightning_xai.reports.failures import Failures
from lightning_xai.reports.grid import Grid
from lightning_xai.reports.html.html_report import HtmlReport
from lightning_xai.reports.maps import Maps
from lightning_xai.reports.numbers import History

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

_STAGES = Literal["validate", "test"]


def parser() -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from jsonargparse import ArgumentParser

    made = ArgumentParser(description="Explain finished checkpoints and write their report. See docs/reports.md.")
    made.add_argument(
        "--checkpoint",
        type=str | list[str],
        required=True,
        help="Checkpoints of one training, or its folder; MyModule@a.ckpt.",
    )
    made.add_argument(
        "--config",
        type=str | None,
        help="The config.yaml of the LightningCLI; the one near the checkpoint if left out.",
    )
    made.add_argument("--data", type=str | None, help="Class path of a DataModule; the config's if left out.")
    made.add_argument("--explainers", type=str | list[str], default="grad_cam", help="Aliases.")
    made.add_argument("--metrics", type=list[str] | None, help="Aliases; the default suite if left out.")
    made.add_argument("--num_images", type=int, default=32, help="Size of the probe.")
    made.add_argument("--stage", type=_STAGES, default="validate", help="Which data: validate or test.")
    made.add_argument("--output", type=str, default="xai_explained", help="Folder of all files.")
    made.add_argument("--device", type=str, default="auto", help="Accelerator of the Trainer: auto, cpu, gpu.")
    return made


def prepared(arguments: Namespace) -> Callable[[], int]:
    """Return what explains the checkpoints; arguments are checked, and model and data made, before."""
    given = [arguments.checkpoint] if isinstance(arguments.checkpoint, str) else arguments.checkpoint
    class_path, places = _class_and_places(given)
    paths = _checkpoints(places)
    config = _config(arguments.config, paths[0])
    model = _model(config, paths[0], class_path)
    data = _data(config, arguments.data)
    monitor = ExplanationMonitor(
        explainers=arguments.explainers,
        metrics=arguments.metrics,
        num_images=arguments.num_images,
        reports=[History(), Maps(), Grid(), Failures(), HtmlReport()],
        on_error="raise",
    )
    settings = {"accelerator": arguments.device, "default_root_dir": arguments.output}
    trainer = trainer_for(model)(**settings, devices=1, logger=False, callbacks=[monitor])
    return partial(_explain, getattr(trainer, arguments.stage), model, data, paths, arguments)


def _class_and_places(given: Sequence[str]) -> tuple[str, list[Path]]:
    """Return the class that ``my_package.MyModule@a.ckpt`` names, empty if none does, and the places."""
    parts = [("", one) if Path(one).exists() else one.rpartition("@")[::2] for one in given]
    return parts[0][0], [Path(place) for _, place in parts]


def _checkpoints(places: Sequence[Path]) -> list[Path]:
    """Return checkpoints, those below a folder, in the order of their training.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = in_order_of_training(places)
    if not found:
        raise FileNotFoundError(f"Expected `--checkpoint` to name checkpoints, but there are none below {places[0]}.")
    return [one.path for one in found]


def _explain(run: Callable[..., Any], model: Any, data: Any, paths: Sequence[Path], arguments: Namespace) -> int:
    """Explain one checkpoint after another, also after one that fails; return 1 if one did, else 0."""
    failed = 0
    for path in paths:
        try:
            run(model, datamodule=data, ckpt_path=path, verbose=False)
        except Exception as error:  # a model's, an explainer's, or that of weights that do not fit
            failed += 1
            sys.stderr.write(f"lightning-xai: error: {path} was not explained: {type(error).__name__}: {error}\n")
    report = Path(arguments.output) / f"xai_report_{arguments.stage}.html"
    if failed < len(paths):
        sys.stdout.write(f"{report}\n")
    return 1 if failed else 0


def _config(given: str | None, checkpoint: Path) -> dict[str, Any]:
    if given is None:
        return cli_config(checkpoint)
    import yaml

    config: dict[str, Any] = yaml.safe_load(Path(given).read_text(encoding="utf-8")) or {}
    return config


def _model(config: Mapping[str, Any], checkpoint: Path, class_path: str) -> Any:
    """Return the module of a config with its arguments; weights come with each checkpoint."""
    model = config.get("model") or {}
    named = class_path or model.get("class_path")
    if not (model and named):
        return loaded_model(f"{class_path}@{checkpoint}" if class_path else checkpoint)  # which says what is missing
    return instantiated({"class_path": named, "init_args": _arguments(model)})


def _arguments(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments in a part of a config: of a class that it names, or of the one that the LightningCLI has."""
    return part.get("init_args", {}) if "class_path" in part else part


def _data(config: Mapping[str, Any], given: str | None) -> Any:
    data = config.get("data") or {}
    if given is not None:
        arguments = {} if "class_path" in data else data
        return instantiated({"class_path": given, "init_args": arguments})
    if "class_path" not in data:
        raise ValueError(
            "Expected the class of the data: no config.yaml of a LightningCLI with `data.class_path` is near the "
            "checkpoint. Pass `--config path/to/config.yaml` or `--data my_package.MyDataModule`."
        )
    return instantiated(data)
