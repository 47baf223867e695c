"""Everything that a comparison asks, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from lightning_xai.comparison.bench import Bench
from lightning_xai.comparison.cell import Cell, Setting
from lightning_xai.comparison.fingerprint import of_images
from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.models import ModelSource, loaded_model
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.masking.reference_area import ReferenceArea
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.readout import Readout
from lightning_xai.probing.target import TargetRule


@dataclass(frozen=True)
class Task:
    """Everything that a comparison asks.

    Attributes:
        models: By name, not loaded.
        images: (data, transform) -> images.
        targets: Rules which class is explained.
        explainers: By name, controls included.
        metrics: By name.
        readout: How models are read.
        seed: Of the random control.
        device: Where models that are loaded here run; that of the module itself if None.
    """

    models: Mapping[str, ModelSource]
    images: Mapping[tuple[str, str], ComparedImages]
    targets: Sequence[TargetRule]
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, ExplanationMetric]
    readout: Readout | None
    seed: int
    device: torch.device | None

    @cached_property
    def settings(self) -> list[Setting]:
        """Every setting, model by model."""
        return [Setting(m, *i, t) for m in self.models for i in self.images for t in self.targets]

    @cached_property
    def fingerprints_of_images(self) -> dict[tuple[str, str], str]:
        """(data, transform) -> what the images are."""
        return {place: of_images(images) for place, images in self.images.items()}

    def images_of(self, setting: Setting) -> ComparedImages:
        """Return the images of a setting."""
        return self.images[setting.data, setting.transform]

    def lacks(self, setting: Setting, metric: ExplanationMetric) -> list[str]:
        """Return what a metric needs that the data of a setting do not have."""
        return sorted(metric.needs - {"explainer"} - self.images_of(setting).known)

    def metrics_of(self, setting: Setting) -> dict[str, ExplanationMetric]:
        """Return the metrics that apply to the data of a setting."""
        return {name: metric for name, metric in self.metrics.items() if not self.lacks(setting, metric)}

    def evaluations(self, cell: Cell) -> int | None:
        """Return about how many evaluations a cell costs with all its metrics, beside what cells share.

        None if its explainer cannot tell.
        """
        explaining = self.explainers[cell.explainer].evaluations
        if explaining is None:
            return None
        own = self._evidence(cell.setting) - self._shared(cell.setting)
        return len(self.images_of(cell.setting)) * (explaining + sum(one.evaluations(explaining) for one in own))

    def shared_evaluations(self, setting: Setting) -> int:
        """Return how many evaluations the cells of a setting share: logits, and what is no explainer's."""
        return len(self.images_of(setting)) * sum(one.evaluations() for one in {*self._shared(setting), Logits()})

    def _evidence(self, setting: Setting) -> set[Evidence[Any]]:
        return {one for metric in self.metrics_of(setting).values() for one in metric.evidence}

    def _shared(self, setting: Setting) -> set[Evidence[Any]]:
        evidence = self._evidence(setting)
        return {one for one in evidence if one.is_about_images_alone or isinstance(one, ReferenceArea)}

    def cells(self, setting: Setting) -> list[Cell]:
        """Return the cells of a setting, those that cost most first: the last ones to be done are short."""
        cells = [Cell(setting, name) for name in self.explainers]
        return sorted(cells, key=lambda cell: -(self.evaluations(cell) or 10**12))


class ModelAtWork:
    """A model that is loaded when it is first needed; a module that was given goes back to its device at the end."""

    def __init__(self, task: Task, name: str) -> None:
        self.name = name
        self._task = task
        self._module: nn.Module | None = None
        self._device = torch.device("cpu")

    @property
    def module(self) -> nn.Module:
        """The model."""
        if self._module is None:
            self._module = loaded_model(self._task.models[self.name])
            tensors = (*self._module.parameters(), *self._module.buffers())
            self._device = next((one.device for one in tensors), torch.device("cpu"))
        return self._module

    def bench(self, setting: Setting) -> Bench:
        """Return the model with the images of a setting, on the device where it runs."""
        task, module = self._task, self.module
        device = task.device or self._device
        return Bench(module.to(device), task.images_of(setting), setting.target, task.readout, task.seed, device)

    def __enter__(self) -> ModelAtWork:
        return self

    def __exit__(self, *_: object) -> None:
        if self._module is not None:
            self._module.to(self._device)
