"""Two real processes, started once, in which Trainers with DDP run one situation after the other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch

from tests.callbacks._runs import (
    Attendance,
    Constant,
    Net,
    differing,
    loader,
    monitor,
    remembered,
    small_metrics,
    train,
)

ROOT = Path(__file__).parents[2]
TIMEOUT = 240.0


def run(folder: Path):
    """Return what each rank found, ``[{situation: result}, {situation: result}]``; raise if one does not end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    common |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", __name__, str(folder)]
    processes = []
    for rank in ("0", "1"):
        with (folder / f"rank{rank}.txt").open("w") as output:
            env = {**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}
            processes.append(subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output))
    end = time.monotonic() + TIMEOUT
    try:
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            if any(process.poll() for process in processes):
                break
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
    codes = [process.wait() for process in processes]
    if codes != [0, 0]:
        said = "\n".join((folder / f"rank{rank}.txt").read_text()[-4000:] for rank in (0, 1))
        raise RuntimeError(f"Expected two processes to finish, but their exit codes are {codes}:\n{said}")
    return [torch.load(folder / f"found{rank}.pt", weights_only=False) for rank in (0, 1)]


class Drifting(Net):
    """Has no statistics and learns nothing: its weights move by themselves, equally in any number of processes."""

    def __init__(self):
        super().__init__()
        self.net[1] = torch.nn.Identity()

    def on_train_epoch_start(self):
        noise = torch.Generator().manual_seed(self.current_epoch)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


VARIANTS = {
    "five_of_seven": {},
    "three_of_seven": {"num_images": 3},
    "one_of_seven": {"num_images": 1},
    "all_of_seven": {"num_images": 32},
    "small_batches": {"batch_size": 1},
    "shuffled": {"shuffle": True},
    "every_rank_sees_all": {"use_distributed_sampler": False},
    "masks": {"masks": True},
}
LOCALIZATION = ["pointing_game", "relevance_mass_accuracy", "relevance_rank_accuracy", "box_localization"]


def drifting(*, num_images=5, batch_size=4, shuffle=False, masks=False, stage="fit", **settings):
    """Return history and probe of a run on seven images, the same on any number of processes."""
    ours = monitor(["grad_cam", "layer_cam"], [*small_metrics(), *LOCALIZATION * masks], num_images=num_images)
    data = loader(7, seed=1, batch_size=batch_size, shuffle=shuffle, masks=masks)
    run = train([ours], Drifting, train_loader=loader(8, masks=masks), val_loader=data, **settings)
    found = {"rows": remembered(ours), "probe": ours._records["fit"].probes[0].identities}
    for name in ("validate", "test"):
        (values,) = getattr(run.trainer, name)(run.module, data, verbose=False)
        found[name] = {key: value for key, value in values.items() if key.startswith("xai/")}
    return found
