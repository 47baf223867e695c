"""Who else in the Trainer watches our keys, whether that can work, and what they find before there is a value."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai._checks import nearest
from lightning_xai._lightning import MisconfigurationException, loaded
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.probing.keys import Key, Keys

if TYPE_CHECKING:
    from lightning_xai._lightning import LightningModule, Trainer


def check_watchers(trainer: Trainer, prefix: str, keys: dict[str, Key], *, loaders_known: bool = True) -> None:
    """Check every callback and scheduler that monitors a key below ``prefix``.

    Args:
        trainer: Its callbacks, and its schedulers where they are set up already.
        prefix: Of the keys.
        keys: Full name -> key, all that will be logged.
        loaders_known: False before the loaders are known: their indices are not checked, and nothing is warned of.

    Raises:
        MisconfigurationException: If a monitored key will not be logged; the message lists those that will.
    """
    for owner, monitor, mode, _ in _watchers(trainer, prefix):
        key = keys.get(monitor)
        if key is None and re.search(r"/dataloader_idx_\d+$", monitor) and not loaders_known:
            continue
        if key is None:
            raise MisconfigurationException(
                f"Expected {owner} to monitor a key that ExplanationMonitor logs, but got {monitor!r}. "
                f"It will log: {_listed(keys)}.{_meant(monitor, keys)}"
            )
        if loaders_known:
            _warn_of_mode(owner, monitor, mode, key)


def _meant(monitor: str, keys: Iterable[str]) -> str:
    """Return the question whether another key was meant; controls and counts only where the monitor names one."""
    aside = ("/control/", "/undefined/")
    likely = [key for key in sorted(keys) if not any(part in key and part not in monitor for part in aside)]
    return nearest(monitor, likely)


def warn_of_patience(trainer: Trainer, prefix: str, validations: int, unit: str) -> None:
    """Say what patience must be where a key has a new value only once in so many ``validations``.

    Args:
        trainer: Its callbacks and schedulers.
        prefix: Of the keys.
        validations: To one explanation.
        unit: What an explanation is of, such as ``"epochs"``.
    """
    for owner, monitor, _, patience in _watchers(trainer, prefix) if validations > 1 else ():
        if patience is not None:
            warnings.warn(
                f"{owner} counts every validation, also those between two explanations, in which {monitor!r} keeps its "
                f"last value: set patience={patience * validations} for {patience} explained {unit}.",
                stacklevel=2,
            )


def would_stop(trainer: Trainer, prefix: str, validations: int, stand_ins: Mapping[str, float]) -> bool:
    """Say whether an early stopping on a key below ``prefix`` ends a run that has no value yet.

    A `ModelCheckpoint` or a scheduler that watches a key never does.

    Args:
        trainer: Its callbacks; those that note a ``stopped_epoch`` stop early.
        prefix: Of the keys.
        validations: That had no value, this one included.
        stand_ins: Full key -> what monitors see meanwhile.
    """
    return any(
        _stops(callback, validations, stand_ins.get(callback.monitor))
        for callback in trainer.callbacks  # type: ignore[union-attr]
        if hasattr(callback, "stopped_epoch")
        and str(getattr(callback, "monitor", None)).startswith(f"{prefix}/")
        and not _counts_explanations(callback)
    )


def _stops(stopping: Any, validations: int, stand_in: float | None) -> bool:
    patience, waited = getattr(stopping, "patience", math.inf), getattr(stopping, "wait_count", 0)
    has_seen_some = math.isfinite(getattr(stopping, "best_score", math.inf))  # also of the run that this one resumes
    if validations > patience or (has_seen_some and waited + 1 >= patience):
        return True
    is_beyond = getattr(stopping, "monitor_op", None)
    if stand_in is None or is_beyond is None:
        return False
    value = torch.tensor(stand_in)
    reached, diverged = stopping.stopping_threshold, stopping.divergence_threshold
    return (reached is not None and bool(is_beyond(value, reached))) or (
        diverged is not None and bool(is_beyond(-value, -diverged))
    )


def check_prefix(prefix: str, prefixes: Sequence[str]) -> None:
    """Raise MisconfigurationException if ``prefix`` is, or begins another, more than once among ``prefixes``."""
    alike = [other for other in prefixes if f"{other}/".startswith(f"{prefix}/")]
    if len(alike) > 1:
        raise MisconfigurationException(
            "Expected every ExplanationMonitor of a Trainer to have its own `prefix`, none of which begins another, "
            f"but got {_listed(alike)}."
        )


def check_trainer(trainer: object) -> None:
    """Raise MisconfigurationException unless ``trainer`` comes from `lightning` or `pytorch_lightning`."""
    if not isinstance(trainer, loaded("trainer.Trainer")):
        raise MisconfigurationException(
            "Expected a Trainer of `lightning` or `pytorch_lightning`, but got "
            f"{type(trainer).__module__}.{type(trainer).__name__}."
        )


def check_validation(trainer: Trainer) -> None:
    """Warn of a fit without validation; raise MisconfigurationException if the validation has no batches."""
    if not trainer.enable_validation:
        rank_zero_warn(
            "ExplanationMonitor explains nothing: this fit has no validation (no loader, no `validation_step`, or "
            "limit_val_batches=0)."
        )
    elif trainer.val_dataloaders is not None and not sum(trainer.num_val_batches):
        raise MisconfigurationException(
            "Expected the validation loader to have batches, because ExplanationMonitor takes its images there, "
            "but it is empty."
        )


def _watchers(trainer: Trainer, prefix: str) -> Iterator[tuple[str, str, str | None, int | None]]:
    """Yield who watches a key below ``prefix``: its name, the key, mode and patience."""
    callbacks = [(callback, getattr(callback, "monitor", None)) for callback in trainer.callbacks]  # type: ignore[union-attr]
    configs = getattr(trainer.strategy, "lr_scheduler_configs", [])
    for owner, monitor in (*callbacks, *((config.scheduler, config.monitor) for config in configs)):
        if isinstance(monitor, str) and monitor.startswith(f"{prefix}/"):
            patience = None if _counts_explanations(owner) else getattr(owner, "patience", None)
            yield type(owner).__name__, monitor, getattr(owner, "mode", None), patience


def _counts_explanations(callback: object) -> bool:
    """Say whether a callback's patience is one of explanations: validations without one cost it nothing."""
    return bool(getattr(callback, "counts_explanations", False))


def _warn_of_mode(owner: str, monitor: str, mode: str | None, key: Key) -> None:
    if mode not in {"min", "max"} or key.higher_is_better is None:
        return
    better = "max" if key.higher_is_better else "min"
    if mode != better:
        warnings.warn(
            f"{owner} monitors {monitor!r} with mode={mode!r}, whose best value is its {better}imum: "
            f"set mode={better!r}.",
            stacklevel=2,
        )


def _listed(names: Iterable[str]) -> str:
    """Return names one after the other for an error message."""
    return ", ".join(sorted(names))


def promise_keys(keys: Keys, trainer: Trainer, module: LightningModule, run: RunState) -> None:
    """Let monitors find every key that has no value yet: its last good one in this run, else its worst.

    Loggers never see these; a value that is logged replaces them, and an error leaves the last one.
    """
    for loader, agreed in run.annotated_loaders.items():
        probe, index = run.probes.get(loader), run.index_in_keys(loader)
        annotated = agreed or (probe is not None and probe.annotated)
        grouped = run.grouped_loaders.get(loader, False) or (probe is not None and probe.groups is not None)
        for name, key in keys.of_loader(index, annotated=annotated, grouped=grouped).items():
            run.last_values.setdefault(name, key.worst)
    for name, value in run.last_values.items():
        trainer.callback_metrics.setdefault(name, torch.tensor(value, device=module.device))
