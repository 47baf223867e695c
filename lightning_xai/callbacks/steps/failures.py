"""Catch the images of a validation that show most, and explain them beside the probe, for reports that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.callbacks.run.validation import Validation
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.preserve import preserved
from lightning_xai.probing.failures import Failure, FailureImages, Verdicts, agreed_failures
from lightning_xai.probing.plan import Plan
from lightning_xai.probing.probe import Probe, references_of_size
from lightning_xai.probing.processes import Processes, first_error
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.validation import ValidationLogits

if TYPE_CHECKING:
    from lightning_xai.callbacks.run.watched_validation import WatchImages


@dataclass(frozen=True)
class ShownFailures:
    """The step that explains the images which show most; before it, it watches them go by.

    Attributes:
        plan: What explains them.
        num_images: To be shown of each loader, beside the followed ones.
        followed: Ids of images that are shown whatever the model says.
    """

    plan: Plan
    num_images: int
    followed: tuple[str, ...] = ()

    def worth(self, run: RunState) -> float:
        """Return what explaining those of a loader costs, in images of a probe."""
        return worth_of_failures(self.plan, self.num_images, annotated=run.annotated)

    def watching(self, at: Validation) -> WatchImages:
        """Return what keeps the images that show most, for `WatchedValidation`."""
        run, classifier = at.run, at.new_classifier()
        run.failure_images = {}

        def watch(loader: int, sample: Sample, part: list[Tensor]) -> None:
            if loader not in run.failure_images:
                run.failure_images[loader] = FailureImages(run.verdicts.get(loader), self.followed)
            keys, rows, *labels = part
            blank = torch.zeros(len(keys), 1, 1, 1, device=keys.device)
            known = Sample(blank, labels=labels[0]).labels if labels else None
            known = torch.full((len(keys),), -1, device=keys.device) if known is None else known
            logits = classifier.read(rows.float())
            run.failure_images[loader].offer(sample, ValidationLogits(keys, known, logits, classifier.task))

        return watch

    def __call__(self, at: Validation) -> None:
        """Explain them; none where that failed on some rank: what is shown beside the scores must not cost them."""
        failures = failures_of(at.processes, at.run, at.logits, self.num_images)
        explained: dict[int, list[Failure]] = {}
        error: Exception | None = None
        try:
            with preserved(at.module):
                for loader, images in failures.items():
                    references = at.run.references.get(loader, [])
                    explained[loader] = with_heatmaps(images, self.plan, at.classifier, references, at.module.device)
        except Exception as caught:
            error = caught
        reason = first_error(at.processes, error)
        if reason is None:
            at.failures = explained
        else:
            rank_zero_warn(f"ExplanationMonitor shows no failures of epoch {at.trainer.current_epoch}: {reason}")


def worth_of_failures(plan: Plan, num_images: int, *, annotated: bool) -> float:
    """Return what explaining so many failures costs, in images of a probe, which are scored as well.

    Args:
        plan: Explainers and metrics.
        num_images: Each is explained for its label and for the prediction.
        annotated: Whether images have masks or boxes.
    """
    of_image = plan.evaluations(annotated=annotated)
    explaining = [explainer.evaluations for explainer in plan.explainers.values()]
    if of_image is None or None in explaining:
        return 2.0 * num_images  # an explainer cannot tell: as if scoring cost nothing
    return 2.0 * num_images * sum(one or 0 for one in explaining) / of_image


def failures_of(
    processes: Processes, run: RunState, validation: Mapping[int, ValidationLogits], num_images: int
) -> dict[int, list[Failure]]:
    """Return the failures of each loader, not explained yet, the same in every process; every process must call it.

    Args:
        processes: Those that agree.
        run: What was caught; it is let go of, and which images the model was right about is kept.
        validation: Loader's index -> the logits of all its images.
        num_images: To be shown of each loader, beside the followed ones.
    """
    caught = run.failure_images
    found = {
        loader: agreed_failures(processes, caught.get(loader, FailureImages()), logits, num_images)
        for loader, logits in sorted(validation.items())
    }
    run.failure_images = {}
    run.verdicts = {loader: Verdicts(one.keys, one.correct) for loader, one in validation.items()}
    return found


def with_heatmaps(
    failures: Sequence[Failure], plan: Plan, classifier: Classifier, references: Sequence[Tensor], device: torch.device
) -> list[Failure]:
    """Return failures with the heatmaps of label and prediction.

    Every process explains all of them: so all make the same number of forwards, as a sharded model needs it.

    Args:
        failures: The images.
        plan: The explainers.
        classifier: The model.
        references: Images (C, H, W) for explainers that compare with some.
        device: Where the model is.
    """
    shown = [one.candidate for one in failures]
    images = Probe([(one.key, one.label) for one in shown], [one.item for one in shown])
    made = list(failures)
    for places in images.places_by_size:
        sample = images.sample(places, device)
        height, width = sample.images.shape[2:]
        resized = references_of_size(references, (height, width)) if plan.num_references else None
        targets = [
            torch.tensor([of(failures[place]) for place in places], device=device) for of in (_label, _predicted)
        ]
        several = not torch.equal(*targets)
        maps = [
            plan.heatmaps(classifier.with_extra(sample.extra), sample.images, target, resized)
            for target in (targets if several else targets[:1])
        ]
        for row, place in enumerate(places):
            heatmaps = {name: torch.stack([one[name][row].cpu() for one in maps]) for name in maps[0]}
            made[place] = replace(failures[place], heatmaps=heatmaps)
    return made


def _label(failure: Failure) -> int:
    """Return the class of the label, the predicted one where there is no label."""
    return failure.candidate.label if failure.candidate.label >= 0 else failure.candidate.predicted


def _predicted(failure: Failure) -> int:
    return failure.candidate.predicted
