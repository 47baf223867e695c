"""What decisions read of a run: the monitor's explanations, and whether a metric was logged beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_xai._checks import nearest
from lightning_xai._lightning import MisconfigurationException
from lightning_xai.callbacks.explanation_monitor import ExplanationMonitor
from lightning_xai.probing.decisions.paired import Mode, Monitored, monitored
from lightning_xai.probing.explained import ExplainedEpoch

if TYPE_CHECKING:
    from lightning_xai._lightning import Trainer


def monitors_of(trainer: Trainer) -> list[ExplanationMonitor]:
    """Return the monitors among the Trainer's callbacks."""
    return [one for one in trainer.callbacks if isinstance(one, ExplanationMonitor)]  # type: ignore[union-attr]


def monitor_of(trainer: Trainer, key: str, owner: object) -> ExplanationMonitor:
    """Return the monitor that logs a key.

    Raises:
        MisconfigurationException: If there is none among the Trainer's callbacks.
    """
    monitors = monitors_of(trainer)
    for one in monitors:
        if key.startswith(f"{one.prefix}/"):
            return one
    prefixes = ", ".join(repr(f"{one.prefix}/…") for one in monitors)
    raise MisconfigurationException(
        f"Expected an ExplanationMonitor among the Trainer's callbacks, because {type(owner).__name__} compares the "
        f"images that stand behind monitor={key!r}, but "
        + (f"those that are there log {prefixes}." if monitors else "there is none: add ExplanationMonitor().")
    )


def rows_behind(trainer: Trainer, key: str, mode: Mode, owner: object) -> Monitored:
    """Return what stands behind a monitored key, image by image.

    Raises:
        MisconfigurationException: If nothing does; the message lists the keys that have values per image.
    """
    monitor = monitor_of(trainer, key, owner)
    if monitor.num_images < 2:
        raise MisconfigurationException(
            f"Expected ExplanationMonitor(num_images=…) to be 2 or more, because {type(owner).__name__} needs a "
            f"standard error over images, but got {monitor.num_images}."
        )
    try:
        return monitored(monitor.keys, key, mode)
    except ValueError as error:
        raise MisconfigurationException(f"{type(owner).__name__}: {error}") from error


def explained_epochs(monitor: ExplanationMonitor) -> list[ExplainedEpoch]:
    """Return the explained validations of the fit, in the order of time."""
    return [epoch for epoch in monitor.history if epoch.stage == "fit"]


def decides_at_epoch_end(trainer: Trainer) -> bool:
    """Say whether to decide at the end of the training epoch, when all of its metrics are final, as Lightning does.

    With several validations in an epoch, or epochs without one, it is the end of the validation.
    """
    return trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1


def check_logged(
    wanted: Iterable[str], found: Mapping[str, float], argument: str, trainer: Trainer, owner: object
) -> None:
    """Raise MisconfigurationException that lists what is logged if a wanted metric was not."""
    for name in wanted:
        if name not in found:
            names = sorted(trainer.callback_metrics)
            raise MisconfigurationException(
                f"Expected `{argument}` of {type(owner).__name__} to name a metric that is logged, but got {name!r}, "
                f"and after the first explained validation there are: {', '.join(names)}.{nearest(name, names)} "
                f"Log it in `validation_step`: self.log({name!r}, value)."
            )


def num_images(batch: Any) -> int:
    """Return the number of images of a batch: the length of its first tensor of images, else of its first tensor."""
    tensors = [one for one in _tensors(batch) if one.ndim]
    of_images = [one for one in tensors if one.ndim >= 3]
    return len((of_images or tensors)[0]) if tensors else 0


def _tensors(batch: Any) -> Iterable[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from _tensors(part)
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from _tensors(part)
