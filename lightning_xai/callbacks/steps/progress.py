"""Where a Trainer shows how far explaining is: in its own progress bar's manner."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lightning_xai._lightning import loaded
from lightning_xai.model.progress import progress_shown, tqdm_bar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lightning_xai._lightning import RichProgressBar, Trainer


@contextmanager
def evaluations_shown(trainer: Trainer, total: int | None) -> Iterator[Callable[[int], object]]:
    """Yield what is told of every model evaluation; a bar appears after two seconds and goes when it is done.

    Args:
        trainer: Its own progress bar decides the looks; nothing is shown where that is off, and on other ranks than 0.
        total: Evaluations expected; None if unknown.
    """
    bar = trainer.progress_bar_callback
    if bar is None or getattr(bar, "is_disabled", False) or not trainer.is_global_zero:
        yield _unseen
        return
    on_tqdm = partial(tqdm_bar, only_on_a_terminal=False)
    show = partial(_RichLine, bar) if isinstance(bar, loaded("callbacks.RichProgressBar")) else on_tqdm
    with progress_shown("Explaining", total, show) as advance:
        yield advance


class _RichLine:
    """A line of the Trainer's own rich display: a second display, or tqdm, would garble it.

    One task for all epochs, hidden in between and never removed: Lightning finds its own by their position.
    """

    def __init__(self, bar: RichProgressBar, title: str, total: int | None, done: int, /) -> None:
        self._bar = bar
        self._done = done
        self._task = None if bar.progress is None else _task(bar.progress, title, total)
        self._draw(visible=True)

    def update(self, count: int) -> None:
        """Show that so many more are done."""
        self._done += count
        self._draw(visible=True)

    def close(self) -> None:
        """Take the line away."""
        self._draw(visible=False)

    def _draw(self, *, visible: bool) -> None:
        if self._bar.progress is not None and self._task is not None:
            self._bar.progress.update(self._task, completed=self._done, visible=visible)
            self._bar.refresh()


def _task(progress: Progress, title: str, total: float | None) -> TaskID:
    """Return the display's task of that title, begun anew; Lightning's display takes no total that is None."""
    total = math.inf if total is None else total
    known = next((task.id for task in progress.tasks if task.description == title), None)
    if known is None:
        return progress.add_task(title, total=total)
    progress.reset(known, total=total)
    return known


def _unseen(_: int) -> None:
    """Take note of nothing; being told, the classifier does not show a bar of its own."""
