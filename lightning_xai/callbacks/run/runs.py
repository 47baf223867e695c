"""The last fit, `validate` and `test` of a monitor, which may be nested in each other, and where their files go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_xai._lightning import loaded
from lightning_xai.callbacks.run.run_state import RunState
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.explained import ExplainedEpoch

if TYPE_CHECKING:
    from lightning_xai._lightning import Logger, Trainer


class Runs:
    """What is remembered of each stage.

    Args:
        asked: The most images that are explained, and the shortest interval.
    """

    def __init__(self, asked: Effort) -> None:
        self._asked = asked
        self._by_stage = {"fit": RunState(asked)}
        self._folders: set[str] = set()  # that hold files of these runs
        self.begun = self._by_stage["fit"]
        """The run that was set up last: a checkpoint is loaded into it."""
        self._process = os.getpid()

    def __getitem__(self, stage: str) -> RunState:
        return self._by_stage[stage]

    def of(self, trainer: Trainer) -> RunState:
        """Return what is remembered of what a Trainer runs now."""
        return self._by_stage[_stage(trainer)]

    @property
    def epochs(self) -> list[ExplainedEpoch]:
        """Every explained epoch: of the fit, then of the stages that ran after it began."""
        return [epoch for run in self._by_stage.values() for epoch in run.epochs]

    def begin(self, trainer: Trainer, prefix: str) -> None:
        """Begin a run afresh, unless it is a fit of the same Trainer that goes on; every rank must call it."""
        stage, folder = _stage(trainer), run_folder(trainer)
        earlier = self._by_stage.get(stage)
        if stage == "fit":
            if earlier is not None and earlier.epochs and trainer.global_step > 0:
                earlier.first, self.begun = True, earlier
                return
            self._by_stage = {}
        self.begun = self._by_stage[stage] = RunState(self._asked, stage, folder, folder_given=folder)
        if earlier is not None and stage != "fit":
            self.begun.epochs = earlier.epochs
        if trainer.is_global_zero and str(folder) not in self._folders:
            self.begun.folder = unused(folder, prefix, stage)
        self._folders.add(str(self.begun.folder))

    def check_process(self, trainer: Trainer, prefix: str) -> None:
        """Warn where a Trainer started the process that runs: it brings nothing of a callback back to its own."""
        if os.getpid() != self._process and trainer.strategy.launcher is not None:
            rank_zero_warn(
                "ExplanationMonitor works in a process that the Trainer started and that hands nothing back: `history` "
                f"and `latest` stay empty where the Trainer was called. Read {prefix}_history.csv in the run's folder, "
                "or monitor.load_state_dict(torch.load(path)['callbacks'][monitor.state_key]) of a checkpoint; with "
                "strategy='ddp' they are there."
            )

    def keep_folder(self, run: RunState) -> None:
        """Let a run write where the Trainer writes, over the files of the run that it continues."""
        run.folder = run.folder_given
        self._folders.add(str(run.folder))


def _stage(trainer: Trainer) -> str:
    return str(getattr(trainer.state.fn, "value", trainer.state.fn))


def unused(folder: str | Path, prefix: str, stage: str) -> str | Path:
    """Return a folder without files of ours from a stage: the given one, else ``<prefix>-v1``, ``-v2`` … below it."""
    from lightning_xai.loggers.files import exists, joined

    suffix = "" if stage == "fit" else f"_{stage}"
    below = [folder, *(joined(folder, f"{prefix}-v{version}") for version in range(1, 1000))]
    ours = (f"{prefix}_history{suffix}.csv", f"{prefix}_images{suffix}.csv", f"{prefix}_maps{suffix}/index.json")
    return next(one for one in below if not any(exists(joined(one, name)) for name in ours))


def run_folder(trainer: Trainer) -> str | Path:
    """Return the folder of this run, a path or the URL of a remote folder; every rank must call it: ranks agree on it.

    The log folder of a TensorBoard or CSV logger; ``save_dir/name/version`` of another logger; the Trainer's default
    root without any.
    """
    from lightning_xai.loggers.files import absolute, joined

    folder = absolute(trainer.log_dir or trainer.default_root_dir)
    logger = trainer.loggers[0] if trainer.loggers else None
    if logger is None or isinstance(logger, (*loaded("loggers.TensorBoardLogger"), *loaded("loggers.CSVLogger"))):
        return folder
    return joined(folder, *(str(part) for part in trainer.strategy.broadcast(_name_and_version(logger)) if part))


def _name_and_version(logger: Logger) -> tuple[object, object]:
    try:
        return logger.name, logger.version
    except Exception as error:  # of a user's logger, which is no reason to end a run
        rank_zero_warn(
            f"ExplanationMonitor writes into the logger's folder, because {type(logger).__name__} does not say its "
            f"name and version: {error!r}"
        )
        return None, None
