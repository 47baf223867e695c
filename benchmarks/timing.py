"""Times as ratios of neighbours: what is measured and its reference take turns, so that a busy machine slows both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Run = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some measurements."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))

    def scaled(self, factor: float) -> Spread:
        return Spread(self.least * factor, self.median * factor, self.greatest * factor)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.least:.3f}–{self.greatest:.3f})"


@dataclass(frozen=True)
class Times:
    """Seconds of several runs of one thing: on the wall, and of the process' CPU (all its threads)."""

    wall: Spread
    cpu: Spread


@dataclass(frozen=True)
class Comparison:
    """A thing beside its reference.

    Attributes:
        wall: Ratios of wall time, one per pair.
        cpu: Ratios of CPU time, one per pair; the fairer number on a busy machine, meaningless for work on a GPU.
        measured: Seconds of the thing.
        reference: Seconds of the reference.
        on_gpu: Whether the work is done by a GPU.
    """

    wall: Spread
    cpu: Spread
    measured: Times
    reference: Times
    on_gpu: bool

    @property
    def ratio(self) -> float:
        """The number that targets are about: the median ratio of wall time on a GPU, else of CPU time."""
        return self.wall.median if self.on_gpu else self.cpu.median


def compare(measured: Run, reference: Run, repeats: int, device: torch.device) -> Comparison:
    """Run both in turns, once to warm up and then ``repeats`` times, the second first in every other pair."""
    measured(), reference()
    gc.collect()
    pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for repeat in range(repeats):
        if repeat % 2:
            other = _timed(reference, device)
            pairs.append((_timed(measured, device), other))
        else:
            pairs.append((_timed(measured, device), _timed(reference, device)))
    wall, cpu = (Spread.of([a[i] / max(b[i], 1e-9) for a, b in pairs]) for i in (0, 1))
    times = [_times([pair[side] for pair in pairs]) for side in (0, 1)]
    return Comparison(wall, cpu, times[0], times[1], device.type == "cuda")


def timed(run: Run, repeats: int, device: torch.device) -> Times:
    """Return the times of ``repeats`` runs after a warm-up."""
    run()
    gc.collect()
    return _times([_timed(run, device) for _ in range(repeats)])


def in_turns(runs: Mapping[Name, Run], rounds: int, device: torch.device) -> dict[Name, list[float]]:
    """Return the seconds of each in every round, of CPU time or on a GPU of the clock; each was warmed up before.

    All take turns, in the other direction in every other round, so that a busy machine slows all of a round.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in runs}
    gc.collect()
    for number in range(rounds):
        for name in reversed(runs) if number % 2 else runs:
            wall, cpu = _timed(runs[name], device)
            seconds[name].append(wall if device.type == "cuda" else cpu)
    return seconds


def _timed(run: Run, device: torch.device) -> tuple[float, float]:
    _finish(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    _finish(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def _times(seconds: Sequence[tuple[float, float]]) -> Times:
    return Times(Spread.of([wall for wall, _ in seconds]), Spread.of([cpu for _, cpu in seconds]))


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
