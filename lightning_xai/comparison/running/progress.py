"""A bar of what is done, by its size, with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from lightning_xai.comparison.cell import Cell

_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


@contextmanager
def cells_shown(sizes: Mapping[Cell, int], total: int, *, show: bool) -> Iterator[Callable[[Cell, float], None]]:
    """Yield what is told of each cell which share of it is done; a terminal shows a bar until the body ends.

    Args:
        sizes: How long each unfinished cell takes beside the others, on which the time that is left rests.
        total: Number of cells, with those that were finished before.
        show: Whether there is a bar at all.
    """
    if not show:
        yield lambda *_: None
        return
    from tqdm.auto import tqdm

    done: dict[Cell, float] = {}
    with tqdm(total=sum(sizes.values()), bar_format=_FORMAT, leave=False, disable=None) as bar:

        def told(cell: Cell, share: float) -> None:
            before = done.get(cell, 0.0)
            done[cell] = max(before, share)
            finished = total - len(sizes) + sum(one == 1.0 for one in done.values())
            bar.set_description_str(f"{finished}/{total} cells", refresh=False)
            bar.set_postfix_str(str(cell), refresh=False)
            bar.update((done[cell] - before) * sizes[cell])

        yield told
