"""One image of each loader goes through everything before anything counts, so that errors of configuration show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lightning_xai._lightning import is_misconfiguration
from lightning_xai.callbacks.run.validation import Errors, Validation, raise_on_all
from lightning_xai.callbacks.steps.assumptions import warn_of_annotations
from lightning_xai.callbacks.steps.telling import Telling
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.layout import reads_channels_last
from lightning_xai.model.preserve import preserved
from lightning_xai.model.restore.tensors import is_sharded
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import references_of_size
from lightning_xai.probing.processes import all_succeeded
from lightning_xai.probing.sample import Sample

if TYPE_CHECKING:
    from lightning_xai.callbacks.steps.watched_step import WatchedStep


@dataclass(frozen=True)
class Rehearsal:
    """The step that tries an image where none was tried; and what a sanity check does.

    Attributes:
        plan: What is asked about each image.
        telling: Reports that may refuse an image.
        errors: What becomes of them.
    """

    plan: Plan
    telling: Telling
    errors: Errors

    def __call__(self, at: Validation) -> None:
        """Try an image if none was tried; every rank must call it."""
        if not at.run.tried:
            self.errors.agreeing(self.try_one_image)(at)
            _agree_on_layout(at)

    def check_configuration(self, at: Validation) -> None:
        """Try one image; raise on every rank, and at one moment, what is wrong on any.

        Raises:
            Exception: What the comparison of calls or the image met on this rank.
            RuntimeError: If another rank met it.
        """
        error = at.run.error if is_misconfiguration(at.run.error) else None
        raise_on_all(at, error)
        try:
            self.try_one_image(at)
        except Exception as caught:
            error = caught
        raise_on_all(at, error)
        _agree_on_layout(at)

    def try_one_image(self, at: Validation) -> None:
        """Send the first image of each loader through everything."""
        run = at.run
        with preserved(at.module):
            classifier = at.new_classifier()
            for loader, sample in run.samples.items():
                run.num_classes = self._num_classes(at, classifier, loader, sample)
                if not run.tried:
                    warn_of_annotations(classifier.task, sample)
            run.channels_last = run.channels_last is not False and _all_read_channels_last(at, classifier)
        if at.trainer.sanity_checking:
            self.telling.check(run.samples.values())
        run.tried = True

    def _num_classes(self, at: Validation, classifier: Classifier, loader: int, sample: Sample) -> int:
        """Ask everything about an image; return how many classes the model has."""
        run = at.run
        classifier.with_extra(sample.extra).check_output(sample.images)
        labels = torch.full((1,), -1, device=sample.images.device)
        if sample.labels is not None:
            labels = sample.labels if sample.labels.ndim == 1 else sample.labels.int().argmax(1)
        # before references are gathered, the image and its mirror image stand in: some need their spread
        pair = [*sample.images, *sample.images.flip(-1)]
        references = None
        if self.plan.num_references:
            height, width = sample.images.shape[2:]
            references = references_of_size(run.references.get(loader, pair), (height, width))
        if run.annotated_loaders.get(loader) and not sample.annotated:  # other ranks' images are
            sample = replace(sample, masks=torch.zeros_like(sample.images[:, 0], dtype=torch.bool))
        return self.plan.answers(classifier, sample, labels, references=references).logits.shape[1]


def compare_calls(at: Validation, step: WatchedStep) -> None:
    """Hold what a validation step sent through the model against what we would send; the end of it tells.

    An error waits there until all ranks can agree on it: one that raised alone would leave the others waiting.
    """
    try:
        with preserved(at.module):
            sample = at.run.samples[0]
            step.compare(sample, at.new_classifier().with_extra(sample.extra).logits)
    except Exception as error:
        at.run.error = at.run.error or error


def _all_read_channels_last(at: Validation, classifier: Classifier) -> bool:
    """Return whether an image of each loader and its mirror image give the same logits in that layout, on a CPU.

    What it costs elsewhere was not measured; an error in the forward of a sharded model would not end well.
    """
    samples = at.run.samples.values()
    if {sample.images.device.type for sample in samples} != {"cpu"} or is_sharded(list(classifier.model.modules())):
        return False
    return all(
        reads_channels_last(
            classifier.with_extra(sample.extra).rows(torch.zeros(2, dtype=torch.int64)),
            torch.cat([sample.images, sample.images.flip(-1)]),
        )
        for sample in samples
    )


def _agree_on_layout(at: Validation) -> None:
    """Take a layout that works on every rank, or the usual one; every rank must call it."""
    at.run.channels_last = all_succeeded(at.processes, at.run.channels_last is True)
