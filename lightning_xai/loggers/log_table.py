"""One call that brings a table with pictures to every logger of a Trainer that has a place for tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from lightning_xai._lightning import loaded
from lightning_xai.loggers.log_picture import scalar_step

if TYPE_CHECKING:
    from lightning_xai._lightning import Logger, Trainer


class TableLoggingError(RuntimeError):
    """A table did not reach every logger it was meant for; the message names them and why."""


@dataclass(frozen=True)
class TablePicture:
    """A picture in a cell, with overlays that a tracker can show or hide.

    Attributes:
        picture: uint8 (H, W, 3).
        overlays: Name -> for each pixel the number of a class, 0 for none, uint8 (H, W).
        overlay_classes: Name of an overlay -> number -> what it means.
        boxes: x0, y0, x1, y1 in pixels, each (4,).
    """

    picture: Tensor
    overlays: Mapping[str, Tensor] = field(default_factory=dict)
    overlay_classes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    boxes: Sequence[Tensor] = ()


Cell: TypeAlias = str | int | float | TablePicture | None


@dataclass(frozen=True)
class LoggedTable:
    """A table with its name and its place in training.

    Attributes:
        name: Words separated by slashes, such as ``"xai/images"``; the same in every epoch.
        columns: Their names.
        rows: As many cells as columns.
        step: Position on the x-axis of Lightning's own scalars.
        epoch: Number of the epoch, from 0.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    step: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        """Check that rows are as long as there are columns."""
        lengths = {len(row) for row in self.rows}
        if lengths - {len(self.columns)}:
            raise ValueError(f"Expected `rows` of {len(self.columns)} cells, but got {sorted(lengths)}.")


def log_table(
    trainer: Trainer,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    moment: tuple[int, int] | None = None,
) -> None:
    """Log a table to the Weights & Biases and MLflow loggers of a Trainer; others have no place for tables.

    Args:
        trainer: Whose loggers are used; on rank zero only.
        name: Words separated by slashes.
        columns: Their names.
        rows: As many cells as columns; a number that is not finite becomes an empty cell.
        moment: Epoch and step that the table is of; the Trainer's own if None.

    Raises:
        ValueError: If a row is not as long as there are columns.
        TableLoggingError: If a logger failed, after all others got the table.
    """
    if not trainer.is_global_zero:
        return
    epoch, step = moment or (trainer.current_epoch, scalar_step(trainer))
    table = LoggedTable(name, columns, [[_finite(cell) for cell in row] for row in rows], step, epoch)
    failures: list[tuple[str, Exception]] = []
    for logger in trainer.loggers:
        log = _function_for(logger)
        try:
            if log is not None:
                log(logger, table)
        except Exception as error:
            failures.append((type(logger).__name__, error))
    if failures:
        reasons = "; ".join(f"{place}: {type(error).__name__}: {error}" for place, error in failures)
        raise TableLoggingError(
            f'Expected the table "{name}" to be logged everywhere, but it failed for {reasons}.'
        ) from failures[0][1]


def takes_tables(trainer: Trainer) -> bool:
    """Return whether some logger has a place for tables."""
    return any(_function_for(logger) is not None for logger in trainer.loggers)


def _function_for(logger: Logger) -> Callable[[Any, LoggedTable], None] | None:
    from lightning_xai.loggers.mlflow import log_table_to_mlflow
    from lightning_xai.loggers.wandb import log_table_to_wandb

    functions: dict[str, Callable[[Any, LoggedTable], None]] = {
        "loggers.WandbLogger": log_table_to_wandb,
        "loggers.MLFlowLogger": log_table_to_mlflow,
    }
    return next((function for name, function in functions.items() if isinstance(logger, loaded(name))), None)


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
