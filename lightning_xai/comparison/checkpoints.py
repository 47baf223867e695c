"""The checkpoints of a training, in its order."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_SIGNS = frozenset("*?[")
CHECKPOINT = ".ckpt"


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A file of a training.

    Attributes:
        epoch: From 0.
        step: Of the optimizer.
        path: The file.
    """

    epoch: int
    step: int
    path: Path


def is_pattern(text: str) -> bool:
    """Return whether words stand for several checkpoints: ``runs/*.ckpt``, or ``my_package.MyModule@runs/*.ckpt``."""
    place = text.rpartition("@")[2]
    return bool(_SIGNS & set(place)) and not Path(place).exists()


def checkpoints_by_name(text: str, name: str = "", *, is_only: bool = True) -> dict[str, str]:
    """Return the checkpoints that a pattern stands for, in the order of their training: name -> words for each.

    Args:
        text: The pattern.
        name: Stands before the names.
        is_only: Whether there is nothing else from which these have to be told.

    Raises:
        ValueError: If there is none, or two runs have one name.
    """
    class_path, sign, pattern = text.rpartition("@")
    trainings = _trainings(pattern)
    named: dict[str, str] = {}
    for run, checkpoints in trainings.items():
        is_clear = len(trainings) == 1 and (name or is_only)
        before = "".join(f"{part}/" for part in (name, "" if is_clear else run) if part)
        for own, one in zip(_names(checkpoints), checkpoints, strict=True):
            named[before + own] = f"{class_path}{sign}{one.path}"
    return named


def in_order_of_training(places: Iterable[Path]) -> list[Checkpoint]:
    """Return checkpoints, those below a folder, by epoch and step; of several of one moment, such as last.ckpt, one."""
    paths = [path for place in places for path in (place.rglob(f"*{CHECKPOINT}") if place.is_dir() else [place])]
    by_moment: dict[tuple[int, int], Checkpoint] = {}
    for path in sorted(paths, key=lambda one: (one.stem.startswith("last"), str(one))):
        state = torch.load(path, map_location="cpu", weights_only=False, mmap=True)  # a Trainer reads it alike
        moment = int(state.get("epoch", 0)), int(state.get("global_step", 0))
        by_moment.setdefault(moment, Checkpoint(*moment, path))
    return sorted(by_moment.values())


def _trainings(pattern: str) -> dict[str, list[Checkpoint]]:
    """Return the checkpoints that a pattern stands for: run -> those of one folder, in the order of their training."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted(map(Path, glob.glob(pattern, recursive=True))):
        if path.suffix == CHECKPOINT and path.is_file():
            folders.setdefault(path.parent, []).append(path)
    if not folders:
        raise ValueError(f"Expected checkpoints ({CHECKPOINT}) at {pattern!r}, but there are none.")
    found: dict[str, list[Checkpoint]] = {}
    for folder, paths in folders.items():
        name = _run(folder)
        if name in found:
            raise ValueError(f"Expected runs with different names at {pattern!r}, but got two {name!r}. Pass a dict.")
        found[name] = in_order_of_training(paths)
    return found


def _run(folder: Path) -> str:
    """Return the name of the run whose checkpoints lie in a folder: the last part that is not ``checkpoints``."""
    return next((part for part in reversed(folder.absolute().parts) if part != "checkpoints"), "run")


def _names(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Return ``epoch_3`` for each, with ``_step_120`` where an epoch has several."""
    counts = Counter(one.epoch for one in checkpoints)
    return [f"epoch_{one.epoch}" + (f"_step_{one.step}" if counts[one.epoch] > 1 else "") for one in checkpoints]
