"""Explain the probe of every loader: each rank its share, then one merge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_xai.callbacks.parts import Parts
from lightning_xai.callbacks.probe import Probe
from lightning_xai.callbacks.progress import evaluations_shown
from lightning_xai.callbacks.ranks import merged, share
from lightning_xai.callbacks.record import Record
from lightning_xai.callbacks.sample import Sample
from lightning_xai.callbacks.study import Findings
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


def classifier_for(
    trainer: Trainer,
    module: LightningModule,
    readout: Readout,
    record: Record,
    on_evaluated: Callable[[int], object] | None = None,
) -> Classifier:
    """Return the module as validation runs it: the Trainer's precision, the validation batch's size.

    Labels with one column per class make an open task multi-label.
    """
    samples = [*record.samples.values(), *(probe.sample([0], module.device) for probe in record.probes.values())]
    if readout.task == "auto" and any(s.labels is not None and s.labels.ndim == 2 for s in samples):
        readout = replace(readout, task="multilabel")
    precision = trainer.precision_plugin
    return Classifier(module, readout, precision=precision, chunk_size=record.chunk_size, on_evaluated=on_evaluated)


def try_one_image(trainer: Trainer, module: LightningModule, readout: Readout, record: Record, parts: Parts) -> None:
    """Send the first image of each loader through every part, so that errors of configuration show themselves."""
    classifier = classifier_for(trainer, module, readout, record)
    for sample in record.samples.values():
        labels = sample.labels
        classes = torch.full((len(sample.images),), -1, device=sample.images.device)
        if labels is not None:
            classes = labels if labels.ndim == 1 else labels.int().argmax(1)
        parts.study(annotated=sample.annotated).run(classifier, sample, classes, {}, None)


def explain_share(
    trainer: Trainer, module: LightningModule, readout: Readout, record: Record, parts: Parts
) -> tuple[dict[int, Findings], Classifier]:
    """Return what this rank finds about its share of every loader's probe, and the classifier that was asked."""
    annotated = any(probe.sample([0], torch.device("cpu")).annotated for probe in record.probes.values())
    images = sum(len(share(len(probe), trainer.global_rank, trainer.world_size)) for probe in record.probes.values())
    with evaluations_shown(trainer, images * parts.evaluations(annotated=annotated)) as shown:
        classifier = classifier_for(trainer, module, readout, record, shown)
        found = {
            loader: _explained(trainer, module, classifier, parts, probe) for loader, probe in record.probes.items()
        }
    return found, classifier


def _explained(
    trainer: Trainer, module: LightningModule, classifier: Classifier, parts: Parts, probe: Probe
) -> Findings:
    indices = share(len(probe), trainer.global_rank, trainer.world_size)
    sample = probe.sample(indices, module.device)
    previous = {name: maps[indices] for name, maps in probe.previous.items()}
    previous_target = None if probe.previous_target is None else probe.previous_target[indices]
    study = parts.study(annotated=sample.annotated)
    return study.run(classifier, sample, probe.classes(indices, module.device), previous, previous_target)


def merge(trainer: Trainer, found: Findings, count: int, num_pictures: int) -> Findings:
    """Return the findings of all ranks about ``count`` images; heatmaps of the first ``num_pictures`` only."""

    def whole(rows: Tensor) -> Tensor:
        return merged(trainer, rows, count)

    shown = min(num_pictures, count)
    own = -(-shown // trainer.world_size)
    return Findings(
        logits=whole(found.logits),
        target=whole(found.target),
        rows={e: {name: whole(rows) for name, rows in metrics.items()} for e, metrics in found.rows.items()},
        control={name: whole(rows) for name, rows in found.control.items()},
        heatmaps={e: merged(trainer, maps[:own], shown) for e, maps in found.heatmaps.items()},
        compact={e: whole(maps) for e, maps in found.compact.items()},
    )


def shown_part(probe: Probe, found: Findings, count: int) -> tuple[Sample, Findings, Tensor]:
    """Return the first images on the CPU with what was found about them, for a picture."""
    indices = list(range(min(count, len(probe))))
    cpu = torch.device("cpu")
    part = replace(
        found,
        logits=found.logits[indices].cpu(),
        target=found.target[indices].cpu(),
        heatmaps={name: maps[: len(indices)].cpu() for name, maps in found.heatmaps.items()},
    )
    return probe.sample(indices, cpu), part, probe.classes(indices, cpu)
