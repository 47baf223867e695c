"""What a report is: one verb, which reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from lightning_xai.probing.explained import ExplainedEpoch, Moment
from lightning_xai.probing.failures import Failure
from lightning_xai.probing.keys import Keys
from lightning_xai.probing.probe import Probe
from lightning_xai.probing.validation import ValidationLogits

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


@dataclass(frozen=True)
class Run:
    """What a report may read beside the epoch.

    Attributes:
        trainer: Whose epoch it is.
        folder: Where this run's files go; a path or the URL of a remote folder.
        keys: The names of what is logged.
        epochs: Every explained epoch of this stage, the newest last.
        probes: Loader's index -> the explained images.
        heatmaps: Loader's index -> explainer -> raw heatmaps of the probe, float32 (N, H, W), on the CPU.
        several_loaders: Whether keys end in the loader's index.
        private: Whether images and ids are to be kept out of what the report tells.
        validation: Loader's index -> the logits of the whole validation, where a report wants them and they were seen.
        to_loggers: Full keys of the values that loggers get with Lightning's own row; a report adds them.
        logged: Epoch and step of an explanation -> name -> what its validation logged of the metrics that reports want.
        failures: Loader's index -> the images of the whole validation that show most, where a report wants them.
    """

    trainer: Trainer
    folder: str | Path
    keys: Keys
    epochs: Sequence[ExplainedEpoch]
    probes: Mapping[int, Probe]
    heatmaps: Mapping[int, Mapping[str, Tensor]]
    several_loaders: bool = False
    private: bool = False
    validation: Mapping[int, ValidationLogits] = field(default_factory=dict)
    to_loggers: set[str] = field(default_factory=set)
    logged: Mapping[Moment, Mapping[str, float]] = field(default_factory=dict)
    failures: Mapping[int, Sequence[Failure]] = field(default_factory=dict)


class Report(ABC):
    """Tell an explained epoch in some form.

    A report keeps its settings and nothing else, changes nothing, and may raise: that is said once, and neither another
    report nor the training is touched. It runs on rank zero only. One that cannot draw or write every kind of image may
    have a method ``check(sample)``, which raises ValueError before training starts.

    Attributes:
        wants_validation_logits: Whether it reads ``run.validation``; it costs nothing where no report does.
        reads_logged: Whether it reads ``run.logged``, in `end_validation` and `end_fit`; likewise.
    """

    wants_validation_logits: ClassVar[bool] = False
    reads_logged: ClassVar[bool] = False

    @abstractmethod
    def publish(self, epoch: ExplainedEpoch, run: Run) -> None:
        """Tell ``epoch``.

        Args:
            epoch: What was found.
            run: Where it belongs: loggers, folder, earlier epochs, images.
        """

    def check_keys(self, keys: Keys) -> None:  # noqa: B027
        """Raise ValueError, before anything runs, if a setting names a value that is not logged."""

    def wants_logged(self, name: str) -> bool:  # noqa: ARG002
        """Return whether a metric of the user's is to be kept for ``run.logged``, by its name; none by default."""
        return False

    def num_failures(self) -> int:
        """Return how many images beside the probe it shows, for ``run.failures``; 0 by default."""
        return 0

    def followed_images(self) -> Sequence[str]:
        """Return the ids of images that it shows whatever the model says; none by default."""
        return ()

    def end_validation(self, epoch: ExplainedEpoch, run: Run) -> None:  # noqa: B027
        """Tell what needs ``run.logged`` of this epoch, which is known when its validation ends; nothing by default."""

    def end_fit(self, run: Run) -> None:  # noqa: B027
        """Tell all epochs when a fit ends, or is interrupted by hand; nothing by default."""
