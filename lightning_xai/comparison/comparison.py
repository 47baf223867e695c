"""Models × data × explainers × metrics: one tidy table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch

from lightning_xai._checks import check_count
from lightning_xai._lightning import on_each_device
from lightning_xai.comparison.cell import Cell, Failure
from lightning_xai.comparison.images import ComparedImages, DataSource, data_by_name, images_of
from lightning_xai.comparison.models import Models, models_by_name
from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.running.archive import Archive
from lightning_xai.comparison.running.forecast import Forecast, forecast
from lightning_xai.comparison.running.ledger import Ledger
from lightning_xai.comparison.running.loaded import LoadedModels
from lightning_xai.comparison.running.progress import cells_shown
from lightning_xai.comparison.running.task import SPLIT, Task
from lightning_xai.comparison.running.worker import Worker
from lightning_xai.comparison.storage.fingerprint import check_named
from lightning_xai.comparison.storage.folder_storage import FolderStorage
from lightning_xai.comparison.storage.lease import SECONDS
from lightning_xai.comparison.storage.storage import MemoryStorage, Storage
from lightning_xai.comparison.table import ComparisonTable
from lightning_xai.comparison.transforms.named import Transforms, transforms_by_name
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.comparison.transforms.transformed_images import out_of_view, transformed
from lightning_xai.explainers.controls.center_heatmap import CenterHeatmap
from lightning_xai.explainers.controls.fake_cam import FakeCAM
from lightning_xai.explainers.controls.random_heatmap import RandomHeatmap
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.metrics.suite import Metrics
from lightning_xai.model.readout import Readout
from lightning_xai.probing.batches import SampleFromBatch
from lightning_xai.probing.plan import Explainers, Plan
from lightning_xai.probing.target import TargetRule, check_target_rule

_BETWEEN = frozenset({"previous_heatmaps", "other_heatmaps"})


class Comparison:
    """Compare explainers by metrics, over models, images, transforms and explained classes.

    Every explainer explains every image of every setting (a model, data, a transform, a rule which class is explained)
    once; all metrics score these heatmaps and share what costs evaluations. Controls that explain nothing run beside
    them, always: a random map (`RandomHeatmap`), `FakeCAM`, and `CenterHeatmap` where objects are annotated.

    With ``output``, each finished part is a file, named by the fingerprint of all that decides its numbers: settings,
    weights, every pixel, ``numbers_version`` of the classes. So a run that was killed goes on where it was, a further
    metric computes that metric, a changed setting is another file, and nothing that is finished is computed again.
    Start the same comparison in several processes, or on several machines with a shared folder, and they share the
    work: each returns the whole table.

    Args:
        models: One or several: modules, functions that return one, checkpoints (all of a training by a pattern), class
            paths, names of torchvision and timm (see ``docs/comparison.md``), or a mapping of names to these.
        data: Likewise: a `Sample`, a dataset, a loader, a DataModule, the path of a folder of images (see
            `ImageFolder`), a class path, or a mapping of names to these.
        explainers: One or several explainers or aliases, or a mapping of names to these.
        metrics: Likewise for metrics; None for the monitor's default suite.
        targets: Which classes are explained: ``"label"``, ``"predicted"``, ``"least_probable"``, ``"top_2"``,
            ``"top_3"``, … or an index; several.
        transforms: One or several: a `Transform` such as ``Rotation(15)``, a function of a `Sample` that returns
            another one, words such as ``"rotation:15"``, or a mapping of names to these; None, or ``"none"``, among
            them keeps the unchanged images beside the others.
        num_images: How many of each data, chosen as the monitor chooses; all, which are held in memory, if None.
        output: Folder of the files; nothing is written if None.
        readout: How the models are read.
        seed: Of the random control and of random transforms.
        device: Where models run; if None, modules stay where they are and others are loaded to the CPU.
        sample_from_batch: Makes a `Sample` of a batch, where the usual forms do not do.
        lease: Seconds after which other processes take over the work of one that died.
        split: Evaluations of a model from which a cell is split by images, and of each part, in whole batches of 32
            images: a part is what one process does, and at most what is lost when that is killed.
        progress: Whether a bar shows what is done; on a terminal only.

    Attributes:
        rank: Number of this process among those that `run` placed on devices; 0 if it placed none.

    Raises:
        TypeError: If an argument has the wrong type, or a layer is given as a module instead of its name.
        ValueError: If a name is unknown, two entries share one, a metric compares epochs or explainers with each other,
            or no metric applies to any data.
        ModuleNotFoundError: If pyarrow is missing and ``output`` given.

    Example:
        >>> from lightning_xai import ShapesDataset
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
        >>> net = torch.nn.Sequential(*net, torch.nn.Flatten())
        >>> table = Comparison(net, ShapesDataset(4), "grad_cam", ["sparseness", "pointing_game"]).run()
        >>> table.explainers
        ('grad_cam', 'random_heatmap', 'fake_cam', 'center_heatmap')
        >>> len(table.mean()), len(table.failures)
        (8, 0)
    """

    def __init__(
        self,
        models: Models,
        data: DataSource | Mapping[str, DataSource],
        explainers: Explainers,
        metrics: Metrics | None = None,
        targets: TargetRule | Iterable[TargetRule] = "label",
        transforms: Transforms = None,
        *,
        num_images: int | None = None,
        output: str | Path | None = None,
        readout: Readout | None = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        sample_from_batch: SampleFromBatch | None = None,
        lease: float = SECONDS,
        split: int = SPLIT,
        progress: bool = True,
    ) -> None:
        self.models = models_by_name(models)
        self.data = data_by_name(data)
        plan = Plan(explainers, metrics)
        self.explainers = plan.explainers
        self.metrics = _comparable(plan.metrics(annotated=True), chosen=metrics is not None)
        for one in (*self.explainers.values(), *self.metrics.values()):
            check_named(one)
        self.targets = _targets(targets)
        self.transforms = transforms_by_name(transforms)
        if num_images is not None:
            check_count(num_images, "num_images")
        self.num_images = num_images
        self.output = output
        self.readout = readout
        self.seed = seed
        self.device = None if device is None else torch.device(device)
        self.sample_from_batch = sample_from_batch
        check_count(split, "split")
        self.split = split
        self.rank = 0
        self.progress = progress
        self._storage: Storage = MemoryStorage() if output is None else FolderStorage(output, lease)

    def run(self, devices: int | str | Sequence[int] | None = None, strategy: str | object = "auto") -> ComparisonTable:
        """Compute what is missing and return the whole table.

        A model or an explainer that fails leaves its reason in `ComparisonTable.failures`; the rest goes on.

        Args:
            devices: How many devices, or which, work on it, in a process each, as in a Trainer: Lightning Fabric starts
                this script again for each, or takes the processes of SLURM or torchrun. Of the kind of ``device``. This
                process alone if None.
            strategy: How Fabric starts the processes, such as ``"ddp"``, ``"ddp_spawn"``, ``"ddp_notebook"``.

        Raises:
            OSError: If a file cannot be written; what is finished stays.
            ValueError: If there are devices and no ``output``, by which processes share work, or no such devices.
        """
        return self.on_devices(devices, strategy)()

    def on_devices(
        self, devices: int | str | Sequence[int] | None = None, strategy: str | object = "auto"
    ) -> Callable[[], ComparisonTable]:
        """Return what does the same as `run`; devices and strategy are checked before."""
        if devices is None:
            return partial(self._run, self.device, 0)
        if self.output is None:
            raise ValueError("Expected `output` with `devices`, because processes share work by files, but got None.")
        if self.device is not None and ":" in str(self.device):
            raise ValueError(
                f"Expected `device` without a number beside `devices`, such as {self.device.type!r}, but got "
                f"{str(self.device)!r}."
            )
        accelerator = "auto" if self.device is None else self.device.type
        return partial(on_each_device(accelerator, devices, strategy), self._run)

    def _run(self, device: torch.device | None, rank: int) -> ComparisonTable:
        self.rank = rank
        ledger = self._ledger(device)
        cells = ledger.task.cells()
        with LoadedModels(ledger.task, self._storage) as loaded:
            ledger.identify(loaded)
            left = ledger.unfinished()
            sizes, shown = {cell: ledger.size(cell) for cell in left}, self.progress and rank == 0
            with cells_shown(sizes, len(cells), show=shown) as told:
                Worker(ledger, loaded, told).work(left)
        found = {(cell, metric): ledger.values(cell, metric) for cell in cells for metric in self.metrics}
        about = {cell: ledger.about_heatmaps(cell) for cell in cells}
        keys = {cell: ledger.heatmaps_key(cell) for cell, one in about.items() if one is not None}
        return ComparisonTable(
            values={place: one for place, one in found.items() if isinstance(one, CellValues)},
            heatmaps={cell: one for cell, one in about.items() if isinstance(one, CellHeatmaps)},
            metrics=self.metrics,
            explainers_by_name=self.task.explainers,
            controls=self.controls,
            failures=tuple(one for one in found.values() if isinstance(one, Failure)),
            archive=Archive(ledger.task, self._storage, keys),
            transforms=self.transforms,
            remarks=self.task.remarks,
            readout=self.readout,
            seed=self.seed,
        )

    def cells(self) -> list[Cell]:
        """Return every cell, in the order of the table: setting by setting, explainers as given, then controls."""
        return self.task.cells()

    def forecast(self) -> Forecast:
        """Return how much is left to do, and about how long it takes here; models are loaded, nothing is explained."""
        return forecast(self._ledger(self.device))

    def _ledger(self, device: torch.device | None) -> Ledger:
        self._storage.begin()
        return Ledger(replace(self.task, device=device), self._storage)

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """Names of the explainers that explain nothing: those that are added, and those among the given ones."""
        return tuple(name for name, explainer in self.task.explainers.items() if explainer.family == "controls")

    @cached_property
    def task(self) -> Task:
        """What is asked, with the images loaded.

        Raises:
            ValueError: If no metric applies to any data.
        """
        images: dict[tuple[str, str], ComparedImages] = {}
        remarks: dict[tuple[str, str], tuple[str, ...]] = {}
        for name, source in self.data.items():
            original = images_of(source, self.num_images, self.sample_from_batch)
            for title, transform in self.transforms.items():
                images[name, title] = original
                is_for_each_model = isinstance(transform, Transform) and transform.needs_model
                if transform is not None and not is_for_each_model:
                    images[name, title] = transformed(original, transform, self.seed)
                    remarks[name, title] = out_of_view(original, images[name, title])
        is_annotated = any("masks" in of_data.known for of_data in images.values())
        task = Task(
            models=self.models,
            images=images,
            transforms=self.transforms,
            remarks=remarks,
            targets=self.targets,
            explainers=_with_controls(self.explainers, self.seed, annotated=is_annotated),
            metrics=self.metrics,
            readout=self.readout,
            seed=self.seed,
            device=self.device,
            split=self.split,
        )
        if not any(task.metrics_of(setting) for setting in task.settings):
            raise ValueError(
                f"Expected `metrics` of which some apply to the data, but {', '.join(self.metrics)} need masks, boxes "
                "or regions, and the data have none."
            )
        return task


def _with_controls(explainers: Mapping[str, Explainer], seed: int, *, annotated: bool) -> dict[str, Explainer]:
    """Return the explainers and after them the controls that are not among them."""
    given = {type(explainer) for explainer in explainers.values()}
    controls: list[Explainer] = [RandomHeatmap(seed=seed), FakeCAM(), *([CenterHeatmap()] if annotated else [])]
    return {**explainers, **{one.alias: one for one in controls if type(one) not in given}}


def _comparable(metrics: Mapping[str, ExplanationMetric], *, chosen: bool) -> dict[str, ExplanationMetric]:
    """Return the metrics of one heatmap at a time; of the default suite those that are others are left out.

    Raises:
        ValueError: If a chosen metric reads heatmaps of another epoch or explainer.
    """
    others = [name for name, metric in metrics.items() if metric.needs & _BETWEEN]
    if chosen and others:
        raise ValueError(
            f"Expected `metrics` of one explainer's heatmaps, but {', '.join(others)} reads those of another epoch or "
            'of other explainers as well: leave it out, and ask `table.agreement(between="explainers")`, or '
            '"models" where these are checkpoints of one training.'
        )
    return {name: metric for name, metric in metrics.items() if name not in others}


def _targets(targets: TargetRule | Iterable[TargetRule]) -> tuple[TargetRule, ...]:
    rules: tuple[TargetRule, ...] = (targets,) if isinstance(targets, (str, int)) else tuple(targets)
    for rule in rules:
        check_target_rule(rule)
    if not rules or len(set(rules)) < len(rules):
        raise ValueError(f"Expected `targets` to hold at least one rule, each once, but got {list(rules)}.")
    return rules
