"""The few moments in which processes talk: agreeing on the probe, merging rows, deciding whether all went well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_xai.probing.probe import Identity, Item, Probe
from lightning_xai.probing.selection import Offers, ProbeSelection, winners_of


class Processes(Protocol):
    """The processes that work on one run together: a Trainer's strategy and a Lightning Fabric are some as they are."""

    @property
    def global_rank(self) -> int:
        """Number of this process."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    def all_gather(self, tensor: Tensor, /) -> Tensor:
        """Return the tensors of all processes, (world_size, ...), in the order of ranks."""


@dataclass(frozen=True)
class OneProcess:
    """A process that works alone."""

    global_rank: int = 0
    world_size: int = 1

    def all_gather(self, tensor: Tensor, /) -> Tensor:
        """Return the tensor with an axis for the one process."""
        return tensor[None]


def of_all(processes: Processes, value: Any) -> list[Any]:
    """Return ``value`` of every process, in the order of ranks; every process must call it."""
    if processes.world_size == 1:
        return [value]
    values: list[Any] = [None] * processes.world_size
    with torch.inference_mode(False):
        dist.all_gather_object(values, value)
    return values


def all_succeeded(processes: Processes, success: bool) -> bool:
    """Return whether ``success`` holds in every process; every process must call it."""
    return all(of_all(processes, success))


def first_error(processes: Processes, error: Exception | None) -> str | None:
    """Return which rank met which error, the first of them, None if none did; every process must call it."""
    reasons = of_all(processes, None if error is None else f"{type(error).__name__}: {error}")
    return next((f"rank {rank}: {text}" for rank, text in enumerate(reasons) if text is not None), None)


def agreed_probe(
    processes: Processes,
    selection: ProbeSelection,
    num_images: int,
    wanted: list[Identity],
    num_classes: int | None = None,
) -> Probe:
    """Return the one probe of all processes; every process must call it.

    They exchange identities first, then the images of the winners only.

    Args:
        processes: Those that agree.
        selection: What this one saw.
        num_images: How many to choose.
        wanted: Images of a restored probe, used if every one was found by some process.
        num_classes: Of the model, if that is known: whether 255 is a class.
    """
    offers = of_all(processes, selection.offers)
    annotated = frozenset().union(*(one.annotated for one in offers))
    restored = bool(wanted) and all(any(identity in one.ids for one in offers) for identity in wanted)
    winners = wanted if restored else winners_of(offers, num_images, annotated, num_classes)
    mine = [identity for identity in winners if _giver(offers, identity, annotated) == processes.global_rank]
    items: dict[Identity, Item] = {}
    for part in of_all(processes, {identity: selection.held[identity] for identity in mine}):
        items.update(part)
    return Probe(list(winners), [items[identity] for identity in winners], num_images=num_images)


def _giver(offers: Sequence[Offers], identity: Identity, annotated: frozenset[Identity]) -> int:
    """Return the rank that gives an image: one with its annotation, if some rank has that, and the least id."""
    holders = [
        (one.ids[identity], rank)
        for rank, one in enumerate(offers)
        if identity in one.ids and (identity not in annotated or identity in one.annotated)
    ]
    return min(holders)[1]


def share_of(processes: Processes, count: int) -> list[int]:
    """Return the indices that this process works on; equally many in each, padded by repeating the last image.

    Example:
        >>> share_of(OneProcess(1, 2), 5)
        [1, 3, 4]
    """
    padded = -(-count // processes.world_size) * processes.world_size
    return [min(index, count - 1) for index in range(processes.global_rank, padded, processes.world_size)]


def shares_of(processes: Processes, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the places of the images that this process works on, of each group: so all make the same forwards."""
    return [[group[index] for index in share_of(processes, len(group))] for group in groups]


def merged(processes: Processes, rows: Tensor, count: int) -> Tensor:
    """Return the rows of all shares in the order of the probe, (count, ...), unpadded; every process must call it."""
    if processes.world_size == 1:
        return rows[:count]
    return processes.all_gather(rows.contiguous()).transpose(0, 1).flatten(0, 1)[:count]
