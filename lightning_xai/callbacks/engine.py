"""Explain the probe of every loader: each rank its share, then one merge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai.callbacks.parts import Parts
from lightning_xai.callbacks.progress import evaluations_shown
from lightning_xai.callbacks.ranks import agreed_probe, all_succeeded, everyones, merged, share
from lightning_xai.callbacks.record import Record
from lightning_xai.callbacks.study import Findings
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.model.readout import Readout

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@dataclass(frozen=True)
class Outcome:
    """What one explained validation gave.

    Attributes:
        found: Loader's index -> findings of all ranks about its whole probe.
        task: Of the classifier.
        evaluations: Model evaluations of all ranks.
    """

    found: dict[int, Findings]
    task: str
    evaluations: int


@dataclass(frozen=True)
class Engine:
    """Run the study; survive its errors.

    Attributes:
        parts: What is monitored.
        readout: How the model is read.
        on_error: Whether an error skips the values with a warning or ends the run.
    """

    parts: Parts
    readout: Readout
    on_error: Literal["warn", "raise"]

    def try_one_image(self, trainer: Trainer, module: LightningModule, record: Record) -> None:
        """Send the first image of each loader through every part, so that errors of configuration show themselves."""
        with preserved(module):
            classifier = self._classifier(trainer, module, record)
            for loader, sample in record.samples.items():
                classes = torch.full((1,), -1, device=sample.images.device)
                if sample.labels is not None:
                    classes = sample.labels if sample.labels.ndim == 1 else sample.labels.int().argmax(1)
                # before references are gathered, the image and its mirror image stand in: some need their spread
                pair = torch.cat([sample.images, sample.images.flip(-1)])
                references = record.references.get(loader, pair) if self.parts.num_references else None
                study = self.parts.study(annotated=sample.annotated, references=references)
                study.run(classifier, sample, classes, {}, None)
        record.tried = True

    def explain(self, trainer: Trainer, module: LightningModule, record: Record) -> Outcome | None:
        """Gather probes where there are none yet, explain them, and return the outcome, the same on every rank.

        None if a rank met an error: that was told, and this validation has no values.
        """
        if not all_succeeded(trainer, record.error is None):
            self._tell(trainer, record, record.error)
            return None
        _gather(trainer, record, self.parts)
        found: dict[int, Findings] = {}
        error: Exception | None = None
        try:
            if not record.tried:
                self.try_one_image(trainer, module, record)
            with preserved(module):
                found, classifier = self._share(trainer, module, record)
        except Exception as caught:
            error = caught
        if not all_succeeded(trainer, error is None):
            self._tell(trainer, record, error)
            return None
        whole = {loader: _merge(trainer, part, len(record.probes[loader])) for loader, part in found.items()}
        return Outcome(whole, classifier.task, classifier.evaluations * trainer.world_size)

    def _share(
        self, trainer: Trainer, module: LightningModule, record: Record
    ) -> tuple[dict[int, Findings], Classifier]:
        """Return what this rank finds about its share of every loader's probe, and the classifier that it asked."""
        shares = {i: share(len(p), trainer.global_rank, trainer.world_size) for i, p in record.probes.items()}
        cost = self.parts.evaluations(annotated=record.annotated)
        total = None if cost is None else cost * sum(map(len, shares.values()))
        with evaluations_shown(trainer, total) as shown:
            classifier = self._classifier(trainer, module, record, shown)
            found = {i: self._study(module, classifier, record, i, shares[i]) for i in shares}
        return found, classifier

    def _study(
        self, module: LightningModule, classifier: Classifier, record: Record, loader: int, indices: list[int]
    ) -> Findings:
        probe = record.probes[loader]
        sample = probe.sample(indices, module.device)
        previous = {name: maps[indices] for name, maps in probe.previous.items()}
        previous_target = None if probe.previous_target is None else probe.previous_target[indices]
        classes = probe.classes(indices, module.device)
        study = self.parts.study(annotated=sample.annotated, references=record.references.get(loader))
        return study.run(classifier, sample, classes, previous, previous_target)

    def _classifier(
        self,
        trainer: Trainer,
        module: LightningModule,
        record: Record,
        on_evaluated: Callable[[int], object] | None = None,
    ) -> Classifier:
        """Return the module as validation runs it; labels with a column per class make an open task multi-label."""
        readout = self.readout
        if readout.task == "auto" and any(s.labels is not None and s.labels.ndim == 2 for s in record.samples.values()):
            readout = replace(readout, task="multilabel")
        return Classifier(
            module,
            readout,
            precision=trainer.precision_plugin,
            chunk_size=record.chunk_size,
            on_evaluated=on_evaluated,
        )

    def _tell(self, trainer: Trainer, record: Record, error: Exception | None) -> None:
        reasons = everyones(trainer, None if error is None else f"{type(error).__name__}: {error}")
        reason = next(f"rank {rank}: {text}" for rank, text in enumerate(reasons) if text is not None)
        misconfigured = not record.tried and isinstance(error, (TypeError, ValueError, MisconfigurationException))
        if self.on_error == "raise" or any(everyones(trainer, misconfigured)):
            raise error or RuntimeError(f"Explaining failed on {reason}")
        record.tried = True  # what comes now is no error of configuration, and must not end the run
        rank_zero_warn(
            f"ExplanationMonitor logs nothing for epoch {trainer.current_epoch}, because explaining failed on "
            f"{reason.rstrip('.')}. Training goes on; monitored keys keep their last value. Use on_error='raise' to "
            "see where it comes from."
        )


def _gather(trainer: Trainer, record: Record, parts: Parts) -> None:
    for loader, selection in sorted(record.selections.items()):
        if parts.num_references:
            references = agreed_probe(trainer, selection, parts.num_references, [])
            record.references[loader] = torch.stack([item.image for item in references.items])
        probe = agreed_probe(trainer, selection, parts.num_images, record.wanted(loader))
        if not record.settle(loader, probe):
            rank_zero_warn(
                "ExplanationMonitor did not find the images of the restored probe again (other data, precision or "
                "preprocessing): it explains a new probe, and heatmap drift starts anew."
            )
    record.selections = {}


def _merge(trainer: Trainer, found: Findings, count: int) -> Findings:
    """Return the findings of all ranks about ``count`` images, in the order of the probe."""

    def whole(rows: Tensor) -> Tensor:
        return merged(trainer, rows, count)

    return Findings(
        logits=whole(found.logits),
        target=whole(found.target),
        rows={e: {name: whole(rows) for name, rows in metrics.items()} for e, metrics in found.rows.items()},
        control={name: whole(rows) for name, rows in found.control.items()},
        heatmaps={e: whole(maps) for e, maps in found.heatmaps.items()},
        compact={e: whole(maps) for e, maps in found.compact.items()},
    )
