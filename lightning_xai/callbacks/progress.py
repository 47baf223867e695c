"""A progress bar for explanations that take long enough to wonder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import RichProgressBar

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_QUIET_SECONDS = 2.0
_TITLE = "Explaining"


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
    elif isinstance(bar, RichProgressBar):
        line = _RichLine(bar, total)
        try:
            yield line.advance
        finally:
            line.hide()
    else:
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=_TITLE, unit="img", leave=False, delay=_QUIET_SECONDS) as shown:
            yield shown.update


class _RichLine:
    """A line of the Trainer's own rich display: a second display, or tqdm, would garble it."""

    def __init__(self, bar: RichProgressBar, total: int | None) -> None:
        self._bar = bar
        self._total = total
        self._done = 0
        self._shown = False
        self._began = time.perf_counter()

    def advance(self, count: int) -> None:
        """Count evaluations, and show them once two seconds are over."""
        self._done += count
        if time.perf_counter() - self._began >= _QUIET_SECONDS:
            self._update(visible=True)
            self._shown = True

    def hide(self) -> None:
        """Take the line away."""
        if self._shown:
            self._update(visible=False)

    def _update(self, *, visible: bool) -> None:
        progress = self._bar.progress
        if progress is None:
            return
        # One task for all epochs, hidden in between and never removed: Lightning finds its own by their position.
        task = next((task.id for task in progress.tasks if task.description == _TITLE), None)
        if task is None:
            task = progress.add_task(_TITLE, total=self._total)
        elif not self._shown:
            progress.reset(task, total=self._total)
        progress.update(task, completed=self._done, visible=visible)
        self._bar.refresh()


def _unseen(_: int) -> None:
    """Take note of nothing; being told, the classifier does not show a bar of its own."""
