"""The protocol that a Trainer's strategy and a Fabric meet, alone and in two real processes."""

from __future__ import annotations

import lightning as L
import pytest
import torch

from lightning_xai._randomness import content_keys
from lightning_xai.probing.processes import (
    OneProcess,
    Processes,
    agreed_probe,
    all_succeeded,
    merged,
    of_all,
    share_of,
)
from lightning_xai.probing.sample import Sample
from lightning_xai.probing.selection import ProbeSelection

COUNT = 7


def images():
    return torch.arange(COUNT * 4, dtype=torch.float32).view(COUNT, 1, 2, 2)


def work(processes: Processes):
    """Return what this process found after talking with the others."""
    mine = share_of(processes, COUNT)
    rank, world = processes.global_rank, processes.world_size
    selection = ProbeSelection(5)
    selection.offer(Sample(images()[rank::world], (torch.arange(COUNT) % 2)[rank::world]))
    probe = agreed_probe(processes, selection, 5, [])
    return {
        "ranks": of_all(processes, rank),
        "merged": merged(processes, images()[mine].flatten(1), COUNT).tolist(),
        "probe": probe.identities,
        "same_images": [int(content_keys(item.image[None])) for item in probe.items] == probe.keys,
        "all": all_succeeded(processes, True),
        "some": all_succeeded(processes, rank == 0),
    }


ALONE = {
    "ranks": [0],
    "merged": images().flatten(1).tolist(),
    "same_images": True,
    "all": True,
    "some": True,
}


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param(lambda: OneProcess(), id="alone"),
        pytest.param(lambda: L.Trainer(accelerator="cpu", devices=1, logger=False).strategy, id="strategy"),
        pytest.param(lambda: L.Fabric(accelerator="cpu", devices=1), id="fabric"),
    ],
)
def test_one_process(processes):
    found = work(processes())
    assert found.pop("probe") == work(OneProcess())["probe"]
    assert found == ALONE


def _in_fabric(fabric, folder):
    torch.save(work(fabric), f"{folder}/{fabric.global_rank}.pt")


def test_two_processes_of_a_fabric_find_what_one_does(tmp_path):
    L.Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn").launch(_in_fabric, str(tmp_path))
    expected = {**work(OneProcess()), "ranks": [0, 1], "some": False}
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=False) == expected
