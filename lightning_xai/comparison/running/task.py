"""Everything that a comparison asks, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from lightning_xai.comparison.cell import Cell, Part, Setting
from lightning_xai.comparison.images import ComparedImages
from lightning_xai.comparison.models import ModelSource
from lightning_xai.comparison.storage.fingerprint import fingerprint, of_images, of_transform
from lightning_xai.comparison.transforms.named import AnyTransform
from lightning_xai.comparison.transforms.transform import Transform
from lightning_xai.evidence.evidence import Evidence
from lightning_xai.evidence.masking.reference_area import ReferenceArea
from lightning_xai.evidence.models.logits import Logits
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.readout import Readout
from lightning_xai.probing.target import TargetRule

SPLIT = 1 << 14  # evaluations: seconds of a GPU, minutes of a CPU, and far more than the files of a part cost


@dataclass(frozen=True)
class Task:
    """Everything that a comparison asks.

    Attributes:
        models: By name, not loaded.
        images: (data, transform) -> images; where the transform needs the model, the unchanged ones.
        transforms: By name, None for unchanged images.
        remarks: (data, transform) -> what has to be known about the images.
        targets: Rules which class is explained.
        explainers: By name, controls included.
        metrics: By name.
        readout: How models are read.
        seed: Of the random control.
        device: Where models that are loaded here run; that of the module itself if None.
        split: Evaluations from which a cell is split, and of each of its parts.
    """

    models: Mapping[str, ModelSource]
    images: Mapping[tuple[str, str], ComparedImages]
    transforms: Mapping[str, AnyTransform]
    remarks: Mapping[tuple[str, str], tuple[str, ...]]
    targets: Sequence[TargetRule]
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, ExplanationMetric]
    readout: Readout | None
    seed: int
    device: torch.device | None
    split: int = SPLIT

    @cached_property
    def settings(self) -> list[Setting]:
        """Every setting, model by model."""
        return [Setting(m, *i, t) for m in self.models for i in self.images for t in self.targets]

    @cached_property
    def fingerprints_of_images(self) -> dict[tuple[str, str], str]:
        """(data, transform) -> what the images are; where the transform needs the model, beside that."""
        found = {place: of_images(images) for place, images in self.images.items()}
        for place in found:
            attack = self.attack(place[1])
            if attack is not None:
                found[place] = fingerprint(found[place], of_transform(attack), self.seed)
        return found

    def attack(self, name: str) -> Transform | None:
        """Return a transform that needs the model; None for others."""
        transform = self.transforms[name]
        return transform if isinstance(transform, Transform) and transform.needs_model else None

    def images_of(self, setting: Setting) -> ComparedImages:
        """Return the images of a setting; where its transform needs the model, the unchanged ones."""
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

    def attacking_evaluations(self, data: str, transform: str) -> int:
        """Return how many evaluations of each model the transform of some images costs."""
        attack = self.attack(transform)
        return 0 if attack is None else len(self.images[data, transform]) * attack.evaluations

    def _evidence(self, setting: Setting) -> set[Evidence[Any]]:
        return {one for metric in self.metrics_of(setting).values() for one in metric.evidence}

    def _shared(self, setting: Setting) -> set[Evidence[Any]]:
        evidence = self._evidence(setting)
        return {one for one in evidence if one.is_about_images_alone or isinstance(one, ReferenceArea)}

    def cells(self) -> list[Cell]:
        """Return every cell, in the order of the table: setting by setting, explainers as given, then controls."""
        return [Cell(setting, name) for setting in self.settings for name in self.explainers]

    def parts(self, cell: Cell) -> list[Part]:
        """Return the parts of a cell: of about `split` evaluations, of one batch where the explainer cannot tell."""
        chunks = len(self.images_of(cell.setting).chunks)
        evaluations = self.evaluations(cell)
        at_once = 1 if evaluations is None else max(1, self.split * chunks // max(1, evaluations))
        return [Part(range(first, min(first + at_once, chunks))) for first in range(0, chunks, at_once)]
