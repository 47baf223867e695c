"""Runs in processes of their own that are killed on the way, each at another moment: ``python -m … FOLDER``.

One process imports everything; each run is a fork of it, killed by signal 9.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L

from lightning_xai import ExplanationCheckpoint
from tests.callbacks._scripted import keeping, run, stopping, watch

ROOT = Path(__file__).parents[2]
ACCURACIES = (0.50, 0.80, 0.82, 0.84, 0.86, 0.88, 0.88, 0.88)
SCORES = (0.1, 0.9, 0.7, 0.65, 0.5, 0.3, 0.1, 0.1)
MOMENTS = (
    "on_train_epoch_start",
    "on_train_batch_end",
    "on_validation_epoch_end",
    "before_writing",
    "before_removing",
    "after_removing",
)
RUNS = [(moment, "last.ckpt") for moment in MOMENTS] + [
    (f"{when}_removing", "epoch=4.ckpt") for when in ("before", "after")
]
"""When each run is killed, and from which of its files it goes on."""
KILLED_IN = 4  # in which epoch 1's file is removed


def callbacks(folder):
    """What is resumed: both decisions, with a margin that the best accuracy outgrows."""
    keep = keeping(folder, margin=0.05, save_last=True)
    return [watch(SCORES), stopping(patience=3, min_delta=0.05, only_if={"val_acc": 0.85}), keep]


def killed(folder):
    """Start the runs below ``folder/<moment>/<file>/kept`` and see all of them killed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__, str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise RuntimeError(f"Expected every run to be killed, but {done.stdout}:\n{done.stderr[-4000:]}")


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class Dies(L.Callback):
    """Dies in a hook of one epoch."""

    def __init__(self, moment):
        if moment.startswith("on_"):
            setattr(self, moment, self.when_it_is_time)

    def when_it_is_time(self, trainer, *_):
        if trainer.current_epoch == KILLED_IN and not trainer.sanity_checking:
            die()


def arm(moment):
    """Let the checkpoint's own verbs die, before they act or after."""
    verbs = {"before_writing": "_save_checkpoint", "before_removing": "_remove", "after_removing": "_remove"}
    if moment not in verbs:
        return
    verb = getattr(ExplanationCheckpoint, verbs[moment])

    def armed(self, trainer, *given):
        if trainer.current_epoch == KILLED_IN and moment.startswith("before"):
            die()
        verb(self, trainer, *given)
        if trainer.current_epoch == KILLED_IN:
            die()

    setattr(ExplanationCheckpoint, verbs[moment], armed)


def main(folder):
    for moment, resumed_from in RUNS:
        here = folder / moment / resumed_from
        here.mkdir(parents=True)
        process = os.fork()
        if not process:
            os.chdir(here)
            arm(moment)
            run([*callbacks(here / "kept"), Dies(moment)], ACCURACIES)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{moment} ended with status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
