"""The few moments in which ranks talk: agreeing on the probe, merging rows, deciding whether to log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_xai.callbacks.probe import Identity, Item, Probe, ProbeSelection, turns

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def everyones(trainer: Trainer, value: Any) -> list[Any]:
    """Return ``value`` of every rank, in the order of ranks; every rank must call it."""
    if trainer.world_size == 1:
        return [value]
    values: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(values, value)
    return values


def agreed_probe(trainer: Trainer, selection: ProbeSelection, num_images: int, wanted: list[Identity]) -> Probe:
    """Return the one probe of all ranks; every rank must call it.

    Ranks exchange identities first, then the images of the winners only.

    Args:
        trainer: Whose ranks agree.
        selection: What this rank saw.
        num_images: How many to choose.
        wanted: Images of a restored probe, used if every one was found by some rank.
    """
    offers = everyones(trainer, (selection.chosen, list(selection.held)))
    anywhere = {identity for _, held in offers for identity in held}
    restored = bool(wanted) and all(identity in anywhere for identity in wanted)
    winners = wanted if restored else turns((identity for chosen, _ in offers for identity in chosen), num_images)
    taken: set[Identity] = set()
    mine: list[Identity] = []
    for rank, (_, held) in enumerate(offers):
        new = [identity for identity in winners if identity in set(held) - taken]
        taken.update(new)
        mine = new if rank == trainer.global_rank else mine
    items: dict[Identity, Item] = {}
    for part in everyones(trainer, {identity: selection.held[identity] for identity in mine}):
        items.update(part)
    return Probe(list(winners), [items[identity] for identity in winners])


def share(count: int, rank: int, world_size: int) -> list[int]:
    """Return the indices that a rank works on; equally many on every rank, padded by repeating the last image.

    Example:
        >>> share(5, 1, 2)
        [1, 3, 4]
    """
    padded = -(-count // world_size) * world_size
    return [min(index, count - 1) for index in range(rank, padded, world_size)]


def merged(trainer: Trainer, rows: Tensor, count: int) -> Tensor:
    """Return the rows of all ranks' shares in probe order, (count, ...), unpadded; every rank must call it."""
    if trainer.world_size == 1:
        return rows[:count]
    gathered: Tensor = trainer.strategy.all_gather(rows.contiguous())
    return gathered.transpose(0, 1).flatten(0, 1)[:count]


def all_succeeded(trainer: Trainer, success: bool) -> bool:
    """Return whether ``success`` holds on every rank; every rank must call it."""
    with torch.inference_mode(False):
        return trainer.strategy.reduce_boolean_decision(success)
