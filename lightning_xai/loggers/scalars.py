"""What Lightning does with its own scalars, so that pictures stand beside them: their step and their names.

Both are private attributes of Lightning. This is the only file of the package that reads them, and
``tests/loggers/test_scalars.py`` names the versions in which they were found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import Logger


def scalar_step(trainer: Trainer) -> int:
    """Give the position on the x-axis at which Lightning logs the scalars of this moment.

    It counts batches after which the optimizer stepped. ``trainer.global_step`` runs ahead of it (by one during the
    validation of a fit) and counts every optimizer by itself; it is used where this Lightning has no such counter.
    """
    loop = getattr(getattr(trainer, "fit_loop", None), "epoch_loop", None)
    return int(getattr(loop, "_batches_that_stepped", trainer.global_step))


def scalar_name(logger: Logger, name: str) -> str:
    """Give the name under which a logger files a scalar called ``name``: behind the ``prefix`` it was made with."""
    prefix = getattr(logger, "_prefix", None)
    return f"{prefix}{getattr(logger, 'LOGGER_JOIN_CHAR', '-')}{name}" if prefix else name
