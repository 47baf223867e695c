"""One call that brings a few sentences to whoever watches a run: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_xai._lightning import loaded

if TYPE_CHECKING:
    from lightning_xai._lightning import Logger, Trainer


class AlarmLoggingError(RuntimeError):
    """An alarm did not reach every logger; the message names them and why."""


@dataclass(frozen=True)
class LoggedAlarm:
    """Sentences that somebody should read.

    Attributes:
        name: Words separated by slashes, such as ``"xai/shortcut_alarm"``.
        cause: What tells it from others of the name, in a word.
        text: The sentences.
        step: Position on the x-axis of Lightning's own scalars.
    """

    name: str
    cause: str
    text: str
    step: int


def log_alarm(trainer: Trainer, alarm: LoggedAlarm) -> None:
    """Tell an alarm to every logger of a Trainer that has a place for it; only on rank zero, and it never communicates.

    TensorBoard shows it among its texts; Weights & Biases sends its alert, by mail or Slack as its user has settled it,
    also from an offline run once that is synchronised; MLflow keeps it as a tag of the run. Other loggers, such as CSV
    files, have no place for words.

    Raises:
        AlarmLoggingError: If a logger failed, after all others were told.
    """
    if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
        return
    failures: list[tuple[str, Exception]] = []
    for logger in trainer.loggers:
        tell = _function_for(logger)
        if tell is not None:
            try:
                tell(logger, alarm)
            except Exception as error:  # each tracking library has errors of its own
                failures.append((type(logger).__name__, error))
    if failures:
        told = "; ".join(f"{place}: {type(error).__name__}: {error}" for place, error in failures)
        raise AlarmLoggingError(f"Expected '{alarm.name}' to be told everywhere, but it failed for {told}.")


def _function_for(logger: Logger) -> Callable[[Any, LoggedAlarm], None] | None:
    from lightning_xai.loggers.mlflow import tag_mlflow
    from lightning_xai.loggers.tensorboard import write_to_tensorboard
    from lightning_xai.loggers.wandb import alert_wandb

    functions: dict[str, Callable[[Any, LoggedAlarm], None]] = {
        "loggers.TensorBoardLogger": write_to_tensorboard,
        "loggers.WandbLogger": alert_wandb,
        "loggers.MLFlowLogger": tag_mlflow,
    }
    return next((function for name, function in functions.items() if isinstance(logger, loaded(name))), None)
