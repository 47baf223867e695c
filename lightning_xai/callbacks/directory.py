"""Where a run's files go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def run_directory(trainer: Trainer) -> Path:
    """Return the folder of this run; every rank must call it, because ranks agree on it.

    The log folder of a TensorBoard or CSV logger; ``save_dir/name/version`` of another logger; the Trainer's default
    root without any.
    """
    folder = Path(trainer.log_dir or trainer.default_root_dir)
    logger = trainer.loggers[0] if trainer.loggers else None
    if logger is None or isinstance(logger, (TensorBoardLogger, CSVLogger)):
        return folder
    return folder.joinpath(*(str(part) for part in trainer.strategy.broadcast((logger.name, logger.version)) if part))
