"""How accurate the network was at each explanation, and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from torch.utils.data import DistributedSampler

from lightning_xai._checks import check_at_least, check_choice
from lightning_xai._lightning import MisconfigurationException, each_loader
from lightning_xai.callbacks.readings import check_logged, explained_epochs, monitors_of, num_images
from lightning_xai.callbacks.run.logged_beside import LoggedBeside
from lightning_xai.metrics.estimate import Estimate
from lightning_xai.probing.decisions.accuracy import accuracies, error_of_share, is_accuracy
from lightning_xai.probing.explained import ExplainedEpoch, moment_of

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer
    from lightning_xai.callbacks.explanation_monitor import ExplanationMonitor

_COUNT = "validation images"  # in a note, beside names of metrics, which have no space


class ValidationAccuracy:
    """The accuracy of a run: the metric that was named, or the one that is logged, or that of the probe.

    Args:
        name: Of a logged metric; None to find it.
        margin: How far from the best one is equally accurate; None for its standard error over validation images.
        mode: Whether the least or the greatest is best; the greatest if None.

    Attributes:
        key: Name of the metric, None until it is known.

    Raises:
        MisconfigurationException: If a metric that is no accuracy is named without a margin, or a loss without a mode.
    """

    def __init__(self, name: str | None, margin: float | None, mode: Literal["min", "max"] | None) -> None:
        check_choice(mode, (None, "min", "max"), "accuracy_mode")
        if margin is not None:
            check_at_least(margin, 0.0, "margin")
        if name is not None and margin is None and not is_accuracy(name):
            raise MisconfigurationException(
                f"Expected `margin` beside `accuracy={name!r}`, because only of an accuracy, a share of images, the "
                "standard error is known: say how far from its best value a checkpoint may be, such as margin=0.01."
            )
        if name is not None and mode is None and any(word in name.lower() for word in ("loss", "error", "err")):
            raise MisconfigurationException(
                f"Expected `accuracy_mode` beside `accuracy={name!r}`, 'min' or 'max', because it sounds like a metric "
                "whose least value is best."
            )
        self.margin, self.sign = margin, -1.0 if mode == "min" else 1.0
        self._name, self.key = name, name
        self._logged = LoggedBeside()
        self._images: Counter[int] = Counter()

    def begin_validation(self) -> None:
        """Count images anew."""
        self._images.clear()

    def see(self, batch: Any, loader: int) -> None:
        """Count the images of a batch."""
        if self.margin is None:
            self._images[loader] += num_images(batch)

    def end_validation(self, trainer: Trainer, monitor: ExplanationMonitor) -> None:
        """Learn whether the validation was explained, and what was logged; every rank must call it."""
        self._logged.begin(explained_epochs(monitor))
        self.note(trainer)

    def note(self, trainer: Trainer) -> None:
        """Note what is logged by now beside the last explanation; every rank must call it."""
        named = {self.key} if self.key else set(_users_accuracies(trainer))
        images = without_repeats(self._images, list(each_loader(trainer.val_dataloaders)))
        counts = images if self._name is None else _of_loader(self._name, images)
        count = torch.tensor(float(sum(counts.values())), device=trainer.strategy.root_device)
        total = float(trainer.strategy.reduce(count, reduce_op="sum"))
        self._logged.note(trainer, named.__contains__, {_COUNT: total})

    def check_unique(self, trainer: Trainer) -> None:
        """Raise MisconfigurationException if the accuracy was not named, and several are logged."""
        if self.key is None:
            _the_only(_users_accuracies(trainer))

    def at(self, trainer: Trainer, monitor: ExplanationMonitor, epoch: ExplainedEpoch) -> Estimate | None:
        """Return the accuracy at an explanation, and its standard error (NaN where a margin stands for it).

        None where it is not known: of a run that goes on after an explanation beside which nothing was noted.

        Raises:
            MisconfigurationException: If it was not logged, is no share of images, or several could be meant.
        """
        noted = self._logged.by_moment.get(moment_of(epoch))
        if noted is None:
            return None
        if self.key is None:
            names = [name for name in noted if name != _COUNT]
            self.key = _the_only(names) or f"{monitor.prefix}/probe_accuracy"
            rank_zero_info(f"ExplanationCheckpoint takes {self.key!r} for the accuracy.")
        if self.key in epoch.estimates:
            return epoch.estimates[self.key]
        if self._logged.now == moment_of(epoch):
            check_logged([self.key], noted, "accuracy", trainer, "ExplanationCheckpoint")
        value = noted.get(self.key, math.nan)
        return Estimate(value, self._error(value, noted[_COUNT]))

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"key": self.key, "logged": self._logged.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self._logged.restore(state["logged"])
        self.key = self._name or state["key"]

    def _error(self, value: float, count: float) -> float:
        if self.margin is not None or math.isnan(value):
            return math.nan
        if not 0.0 <= value <= 1.0:
            raise MisconfigurationException(
                f"Expected {self.key!r} to be a share of images in [0, 1], of which the standard error is known, but "
                f"got {value:g}: set `margin` in its unit."
            )
        if not count:
            raise MisconfigurationException(
                f"Expected batches that show how many validation images {self.key!r} is about, but found no tensor in "
                "them: set `margin`."
            )
        return error_of_share(value, count)


def without_repeats(images: Mapping[int, int], loaders: Sequence[Any]) -> dict[int, int]:
    """Return how many images this process saw without those that a distributed sampler repeats to fill up its share.

    Args:
        images: Loader's index -> images that went by; the repeated ones are the last.
        loaders: All of the validation.
    """
    counts = dict(images)
    for index, loader in enumerate(loaders):
        sampler = getattr(loader, "sampler", None)
        if index in counts and isinstance(sampler, DistributedSampler):
            own = range(sampler.rank, len(sampler.dataset), sampler.num_replicas)  # type: ignore[arg-type]
            counts[index] = min(counts[index], len(own))
    return counts


def _users_accuracies(trainer: Trainer) -> list[str]:
    """Return the accuracies that are logged, but for those of monitors, of which there may be several."""
    return accuracies(trainer.callback_metrics, *(one.prefix for one in monitors_of(trainer)))


def _the_only(names: list[str]) -> str | None:
    if len(names) > 1:
        raise MisconfigurationException(
            f"Expected `accuracy` of ExplanationCheckpoint to name one of the logged metrics {', '.join(names)}, "
            "because each of them could be the accuracy."
        )
    return names[0] if names else None


def _of_loader(name: str, images: Mapping[int, int]) -> Mapping[int, int]:
    """Return the counts of the loader that a key names, of all loaders if it names none."""
    _, named, index = name.rpartition("/dataloader_idx_")
    return {int(index): images.get(int(index), 0)} if named and index.isdigit() else images
