"""One call that brings a picture to every logger of a Trainer, or to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_xai.loggers.files import save_png
from lightning_xai.loggers.mlflow import show_in_mlflow
from lightning_xai.loggers.record import PictureRecord
from lightning_xai.loggers.scalars import scalar_step
from lightning_xai.loggers.tensorboard import show_in_tensorboard
from lightning_xai.loggers.wandb import show_in_wandb

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import Logger


class PictureLoggingError(RuntimeError):
    """A picture did not reach every place it was meant for; the message names the places and why."""


def log_picture(
    trainer: Trainer, name: str, picture: Tensor, *, caption: str = "", directory: Path | None = None
) -> list[Path]:
    """Show a picture in every logger of a Trainer that can show pictures, else write it to a folder.

    TensorBoard, Weights & Biases and MLflow loggers (and their subclasses) show it at the step of Lightning's own
    scalars. If none did, because there is none or because all failed, a PNG goes to ``directory``. It may be called on
    any rank, acts on rank zero, and never communicates.

    Args:
        trainer: The Trainer whose loggers are used, at the current step and epoch.
        name: Words separated by slashes, such as ``"xai/heatmaps"``; the same in every epoch.
        picture: uint8, shape (H, W, 3), any device.
        caption: Shown by Weights & Biases and written into PNG files; other loggers have no place for it.
        directory: Where PNG files go, the name as folders; None to write none.

    Returns:
        The files written by this call.

    Raises:
        TypeError: If ``picture`` is not uint8.
        ValueError: If ``picture`` is not (H, W, 3) or ``name`` cannot be a path.
        PictureLoggingError: If a logger or the folder failed, after all others got the picture.

    """
    if not trainer.is_global_zero:
        return []
    record = PictureRecord(name, picture, caption, step=scalar_step(trainer), epoch=trainer.current_epoch)
    shown, written = False, []
    failures: list[tuple[str, Exception]] = []
    for logger in trainer.loggers:
        show = _writer_for(logger)
        if show is not None:
            try:
                show(logger, record)
                shown = True
            except Exception as error:
                failures.append((type(logger).__name__, error))
    if directory is not None and not shown:
        try:
            written = [save_png(directory, record)]
        except OSError as error:
            failures.append((f"the folder {directory}", error))
    if failures:
        raise PictureLoggingError(_report(name, failures)) from failures[0][1]
    return written


def _writer_for(logger: Logger) -> Callable[[Any, PictureRecord], None] | None:
    """Find how a logger shows pictures, None if it cannot; Lightning's classes import no tracking library."""
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

    writers: dict[type[Logger], Callable[[Any, PictureRecord], None]] = {
        TensorBoardLogger: show_in_tensorboard,
        WandbLogger: show_in_wandb,
        MLFlowLogger: show_in_mlflow,
    }
    return next((show for kind, show in writers.items() if isinstance(logger, kind)), None)


def _report(name: str, failures: list[tuple[str, Exception]]) -> str:
    reasons = "; ".join(f"{place}: {type(error).__name__}: {error}" for place, error in failures)
    return f'Expected the picture "{name}" to be logged everywhere, but it failed for {reasons}.'
