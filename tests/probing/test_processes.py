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
    places = torch.arange(COUNT)[rank::world]
    selection.offer(
        Sample(images()[places], places % 2, extra={"place": places, "name": [str(int(i)) for i in places]})
    )
    probe = agreed_probe(processes, selection, 5, [])
    return {
        "ranks": of_all(processes, rank),
        "merged": merged(processes, images()[mine].flatten(1), COUNT).tolist(),
        "probe": probe.identities,
        "same_images": len({int(content_keys(item.image[None])) for item in probe.items}) == 5,
        "same_extra": all(
            torch.equal(item.image, images()[int(item.extra["place"])])
            and item.extra["name"] == str(int(item.extra["place"]))
            for item in probe.items
        ),
        "all": all_succeeded(processes, True),
        "some": all_succeeded(processes, rank == 0),
    }


ALONE = {
    "ranks": [0],
    "merged": images().flatten(1).tolist(),
    "same_images": True,
    "same_extra": True,
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
    # gloo's threads must not outlive what they talk through: a process that ends before it closes may abort.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_of_a_fabric_find_what_one_does(tmp_path):
    L.Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn").launch(_in_fabric, str(tmp_path))
    expected = {**work(OneProcess()), "ranks": [0, 1], "some": False}
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=False) == expected
