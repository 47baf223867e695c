"""Work on the cells of a comparison: what is finished is left alone, what another process does is waited for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightning_xai.comparison.cell import Cell
from lightning_xai.comparison.running.cell_work import CellWork
from lightning_xai.comparison.running.ledger import Ledger
from lightning_xai.comparison.running.loaded import LoadedModels

_LEAST_PAUSE, _MOST_PAUSE = 0.25, 4.0  # seconds between two looks at what others have finished


@dataclass
class Worker:
    """Does what is left of a task, the largest cells first, beside other processes that do the same.

    Args:
        ledger: Says what is missing.
        loaded: The models.
        told: Called with a cell and which share of it is done, whoever computed that.
    """

    ledger: Ledger
    loaded: LoadedModels
    told: Callable[[Cell, float], object] = lambda *_: None

    def work(self, cells: Sequence[Cell]) -> None:
        """Return when each of some cells has its values, or the reasons why not."""
        left, pause = list(cells), _LEAST_PAUSE
        while left:
            self._has_computed = False
            still = [cell for cell in left if not self._is_finished(cell)]
            if self._has_computed or len(still) < len(left):
                pause = _LEAST_PAUSE
            else:
                time.sleep(pause)
                pause = min(2 * pause, _MOST_PAUSE)
            left = still

    def _is_finished(self, cell: Cell) -> bool:
        """Do what nobody else is doing in a cell; return whether nothing is left to do there."""
        work = CellWork(self.ledger, self.loaded, cell)
        if self.ledger.missing(cell):
            is_ours = self._work_on_parts(work) if work.is_split else self._compute(work)
            if not is_ours or self.ledger.missing(cell):
                return False
        if work.is_split:
            work.forget_parts()  # if who joined them was stopped before it did
        self.told(cell, 1.0)
        return True

    def _compute(self, work: CellWork) -> bool:
        """Compute a cell of one part; return whether nobody else is doing that."""
        with self.ledger.storage.claimed(work.key) as is_ours:
            if is_ours:
                self._has_computed |= work.compute(*work.parts)
        return is_ours

    def _work_on_parts(self, work: CellWork) -> bool:
        """Compute the parts of a cell that nobody else is doing; return whether the cell was joined here."""
        left = work.unfinished_parts()
        while left:
            part = left.pop(0)
            with self.ledger.storage.claimed(f"{work.key}.{part}") as is_ours:
                if is_ours:
                    self._has_computed |= work.compute(part)
                else:
                    random.shuffle(left)  # processes that meet part here
            self.told(work.cell, 1 - len(left) / len(work.parts))
        if work.unfinished_parts():
            return False
        with self.ledger.storage.claimed(work.key) as is_ours:
            if is_ours:
                work.join()
        return is_ours
