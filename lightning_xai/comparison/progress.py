"""A bar of finished cells, with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning_xai.comparison.cell import Cell


@contextmanager
def cells_shown(total: int, *, show: bool) -> Iterator[Callable[[Cell], None]]:
    """Yield what is told of each finished cell; the bar goes when the body ends, and is seen on a terminal only."""
    if not show:
        yield lambda _: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="cells", unit="cell", leave=False, disable=None) as bar:

        def told(cell: Cell) -> None:
            bar.set_postfix_str(str(cell), refresh=False)
            bar.update(1)

        yield told
