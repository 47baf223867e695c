"""What the monitor remembers between validations of one fit (or one `trainer.validate`, or one `trainer.test`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_xai.callbacks.run.logged_beside import LoggedBeside
from lightning_xai.callbacks.run.run_time import RunTime
from lightning_xai.model.images_per_forward import cheapest_on_cpu, proven_room
from lightning_xai.probing.decisions.effort import BudgetChoice, Effort
from lightning_xai.probing.explained import ExplainedEpoch
from lightning_xai.probing.failures import FailureImages, Verdicts
from lightning_xai.probing.probe import Identity, Probe, are_distributions
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import ProbeSelection

if TYPE_CHECKING:
    from lightning_xai.callbacks.run.watched_validation import WatchedValidation

_SHARED_RANGE = 0.5  # of the values of two probes, that the second one goes on with the range of the first


@dataclass
class RunState:
    """Probe per loader, every explained epoch, and where in the schedule we are.

    Attributes:
        asked: The most images that are explained, and the shortest interval.
        stage: ``"fit"``, ``"validate"`` or ``"test"``.
        folder: Where this run's files go.
        folder_given: The Trainer's own folder, which may hold the files of an earlier run.
        loaded: Epoch and step of the checkpoint that is validated or tested, None without one.
        epochs: Every explained epoch, numbers only, ordered by epoch and step.
        probes: Loader's index -> probe.
        references: Loader's index -> images (C, H, W) for explainers that compare with some, on the CPU.
        last_values: Every promised key -> last good value, the worst until there is one.
        last_epoch: Last epoch that was explained.
        last_step: The Trainer's step at the last explanation that was in step.
        first: Whether no validation of this fit was explained (or tried) yet.
        time: How long the fit has taken so far, and how much of that explaining took.
        choice: What a budget allows; None before it was chosen, and without a budget.
        num_loaders: How many loaders the running validation has.
        due: Whether the running validation is explained.
        selections: Loader's index -> selection that goes on in the running validation.
        samples: Loader's index -> first image that was last seen.
        annotated_loaders: Loader's index -> whether some rank's images have masks or boxes, agreed once.
        grouped_loaders: Loader's index -> whether some rank's images have groups, agreed once.
        chunk_size: Greatest first batch seen.
        tried: Whether one image went through everything, so that later errors are none of configuration.
        failures: Validations in a row that could not be explained.
        error: What went wrong in the running validation before it was explained.
        restored: Loader's index -> state of a probe that a resumed run looks for.
        labels_are_distributions: Of labels with several columns: whether every row seen so far sums to 1; None if there
            were none.
        listening: To the steps of the running validation, where a report wants their logits.
        said: What is said once in a run.
        class_counts: Loader's index -> class -> images of the validation that the probe was taken of.
        explained: What the running validation found, once it is explained.
        num_classes: Of the model, once it was tried.
        failure_images: Loader's index -> the images that show most of the running validation, if a report wants them.
        verdicts: Loader's index -> which images the model was right about at the last explanation.
        channels_last: Whether images go through the model in that layout, agreed when it was tried; None before.
        most_that_fit: Images per forward for which there was room, if memory was short.
        grown: Images per forward without gradients that were chosen on a GPU; None before.
        logged: What was logged beside each explanation, of the metrics that reports want.
        alarms: Key and cause of the shortcut alarms that were told.
        inside_0_and_1: Loader's index -> explained validations in a row whose logits spread within [0, 1].
    """

    asked: Effort
    stage: str = "fit"
    folder: str | Path = field(default_factory=Path)
    folder_given: str | Path = field(default_factory=Path)
    loaded: tuple[int, int] | None = None
    epochs: list[ExplainedEpoch] = field(default_factory=list)
    probes: dict[int, Probe] = field(default_factory=dict)
    references: dict[int, list[Tensor]] = field(default_factory=dict)
    last_values: dict[str, float] = field(default_factory=dict)
    last_epoch: int | None = None
    last_step: int | None = None
    first: bool = True
    time: RunTime = field(default_factory=RunTime)
    choice: BudgetChoice | None = None
    num_loaders: int = 1
    due: bool = False
    selections: dict[int, ProbeSelection] = field(default_factory=dict)
    samples: dict[int, Sample] = field(default_factory=dict)
    annotated_loaders: dict[int, bool] = field(default_factory=dict)
    grouped_loaders: dict[int, bool] = field(default_factory=dict)
    chunk_size: int = 1
    tried: bool = False
    failures: int = 0
    error: Exception | None = None
    restored: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels_are_distributions: bool | None = None
    listening: WatchedValidation | None = None
    said: set[str] = field(default_factory=set)
    class_counts: dict[int, Counter[int]] = field(default_factory=dict)
    explained: ExplainedEpoch | None = None
    num_classes: int | None = None
    failure_images: dict[int, FailureImages] = field(default_factory=dict)
    verdicts: dict[int, Verdicts] = field(default_factory=dict)
    channels_last: bool | None = None
    most_that_fit: int | None = None
    grown: int | None = None
    logged: LoggedBeside = field(default_factory=LoggedBeside)
    alarms: set[tuple[str, str]] = field(default_factory=set)
    inside_0_and_1: dict[int, int] = field(default_factory=dict)

    @property
    def effort(self) -> Effort:
        """How many images are explained now, and how often: as asked, or as a budget allows."""
        return self.asked if self.choice is None else self.choice.chosen

    def begin_validation(self, num_loaders: int, *, due: bool) -> None:
        """Start a validation, of which some loaders will be seen."""
        self.num_loaders, self.due, self.error, self.explained = num_loaders, due, None, None
        self.selections = {}
        self.stop_listening()

    def stop_listening(self) -> None:
        """Leave no hook behind; what was heard is dropped."""
        if self.listening is not None:
            self.listening.stop()
        self.listening = None

    def note_first_batch(self, loader: int, sample: Sample) -> None:
        """Keep one image of the first batch of a loader, and the batch's size."""
        self.samples[loader] = sample.first()
        self.chunk_size = max(self.chunk_size, len(sample.images))

    def images_per_forward(self, device: torch.device, asked: int | None = None) -> int:
        """Return the validation batch's size, or what was left of it when memory was short.

        On a CPU it is how many cost least, by the size of the probes' largest image.

        Args:
            device: Of the model.
            asked: What the readout says instead.
        """
        size = asked or self.chunk_size
        if asked is None and device.type == "cpu":
            images = (item.image for probe in self.probes.values() for item in probe.items)
            size = cheapest_on_cpu(max((image.shape[1] * image.shape[2] for image in images), default=1))
        return min(size, self.most_that_fit or size)

    def images_without_gradients(self, device: torch.device, asked: int | None = None) -> int:
        """Return the same where no gradients are wanted: what was chosen, if anything was."""
        size = self.images_per_forward(device, asked)
        grown = size if asked or proven_room(device) is None else max(size, self.grown or size)
        return min(grown, self.most_that_fit or grown)

    def note_room(self, size: int, device: torch.device, asked: int | None = None) -> None:
        """Keep how many images went through the model together if there was no room for more."""
        if size < self.images_without_gradients(device, asked):
            self.most_that_fit = size

    def note_labels(self, sample: Sample) -> None:
        """Learn from a batch whether labels of several columns are distributions over the classes, or multi-label.

        Raises:
            ValueError: If the first validation showed distributions alone, and this batch something else.
        """
        if sample.labels is None or sample.labels.ndim == 1:
            return
        are, so_far = are_distributions(sample.labels), self.labels_are_distributions
        if self.probes and so_far and not are:
            raise ValueError(
                "Expected every row of the labels to sum to 1, a distribution over the classes as in all of the first "
                "validation, but got another: set Readout(task='multilabel') if an image can have several classes."
            )
        self.labels_are_distributions = so_far is not False and are

    def selection(self, loader: int, num_images: int) -> ProbeSelection:
        """Return the selection of a loader that goes on."""
        if loader not in self.selections:
            self.selections[loader] = ProbeSelection(num_images, self.wanted(loader))
        return self.selections[loader]

    def remember(self, epoch: ExplainedEpoch) -> None:
        """Add the numbers of an epoch; one with the same epoch and step, which a resumed run repeats, is replaced."""
        others = [other for other in self.epochs if _moment(other) != _moment(epoch)]
        self.epochs = sorted([*others, epoch.numbers_only()], key=lambda one: (one.epoch, one.step))
        self.last_epoch = epoch.epoch
        self.failures = 0
        for loader, found in epoch.loaders.items():
            self.probes[loader].previous = dict(found.heatmaps)
            self.probes[loader].previous_target = found.target

    @property
    def loaders(self) -> list[int]:
        """Indices of the loaders, also of empty ones."""
        return list(range(self.num_loaders))

    def index_in_keys(self, loader: int) -> int | None:
        """Return the index of a loader as it stands in keys: None where it is the only one."""
        return loader if self.num_loaders > 1 else None

    @property
    def annotated(self) -> bool:
        """Whether the images of some loader have masks or boxes."""
        return any(self.annotated_loaders.values())

    @property
    def grouped(self) -> bool:
        """Whether the images of some loader have groups."""
        return any(self.grouped_loaders.values())

    def wanted(self, loader: int) -> list[Identity]:
        """Return the images of the restored probe that a loader is searched for."""
        state = self.restored.get(loader)
        return [] if state is None else _restored(state)

    def forget_probes_unlike(self, num_images: int) -> None:
        """Look no longer for restored probes of another number of images, which is said."""
        others = []
        for loader, state in self.restored.items():
            asked, count = state["num_images"], len(state["keys"])
            # an older checkpoint does not say how many were asked for: there may have been no more images
            if count > num_images or asked not in {None, num_images}:
                others.append(count if asked is None else asked)
                nothing: dict[str, Any] = {"keys": [], "classes": [], "groups": None}
                nothing |= {"previous": {}, "previous_target": None}
                self.restored[loader] = {**state, **nothing, "num_images": num_images}
        if others:
            rank_zero_warn(
                f"ExplanationMonitor explains a new probe, because num_images={num_images} but the checkpoint's "
                f"run had {others[0]}: heatmap drift starts anew, and earlier epochs are of other images."
            )

    def accept(self, loader: int, probe: Probe) -> list[str]:
        """Take over the probe of a loader, and the run's value range; return how it differs from a restored one."""
        state = self.restored.pop(loader, None)
        self.probes[loader] = probe
        if state is None:
            return []
        differences = []
        before = state["value_range"]
        if before is not None and probe.own_range is not None:
            if _are_alike(before, probe.own_range):
                probe.kept_range = before
            else:
                differences = [f"takes noise as a share of the range {probe.own_range} from now on (it was {before})"]
        if _restored(state) == probe.identities:
            probe.previous = dict(state["previous"])
            probe.previous_target = state["previous_target"]
        elif state["keys"]:
            differences.insert(
                0,
                "did not find the images of the restored probe again (other data, groups, precision or "
                "preprocessing): it explains a new probe, and heatmap drift starts anew",
            )
        return differences


def _restored(state: dict[str, Any]) -> list[Identity]:
    """Return the images of a probe's state, with their groups where they have any."""
    images = list(zip(state["keys"], state["classes"], strict=True))
    groups = state.get("groups") or [""] * len(images)
    return [(*image, group) if group else image for image, group in zip(images, groups, strict=True)]


def _are_alike(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Return whether two ranges are in the same units: they share half of the wider one."""
    shared = min(first[1], second[1]) - max(first[0], second[0])
    return shared >= _SHARED_RANGE * max(first[1] - first[0], second[1] - second[0])


def _moment(epoch: ExplainedEpoch) -> tuple[int, int, str | None]:
    return epoch.epoch, epoch.step, epoch.checkpoint
