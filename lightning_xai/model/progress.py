"""A progress bar for explanations that take long enough to wonder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lightning_xai.model.classifier import Classifier

QUIET_SECONDS = 2.0


class Bar(Protocol):
    """A bar on a screen, as tqdm has it."""

    def update(self, count: int) -> object:
        """Show that so many more images went through the model."""

    def close(self) -> object:
        """Take the bar away."""


class ShowBar(Protocol):
    """Makes a bar, which is seen from then on."""

    def __call__(self, title: str, total: int | None, done: int, /) -> Bar:
        """Return a bar of ``total`` images (None if unknown), of which some are done."""


def tqdm_bar(title: str, total: int | None, done: int, /, *, only_on_a_terminal: bool = True) -> Bar:
    """Return a bar on standard error, or in a notebook."""
    from tqdm.auto import tqdm

    disable = None if only_on_a_terminal else False
    bar: Bar = tqdm(desc=title, total=total, initial=done, unit="img", leave=False, disable=disable)
    return bar


@contextmanager
def progress_shown(title: str, total: int | None, show: ShowBar = tqdm_bar) -> Iterator[Callable[[int], object]]:
    """Yield what is told of every model evaluation; a bar appears after two seconds and goes when the body ends.

    Args:
        title: Before the bar.
        total: Images expected; None if unknown.
        show: Makes the bar; by default on standard error if that is a terminal, and in notebooks.
    """
    bar = _LateBar(title, total, show)
    try:
        yield bar.advance
    finally:
        bar.close()


@contextmanager
def evaluations_shown(classifier: Classifier, title: str, total: int | None) -> Iterator[None]:
    """Show how many images go through the model in the body, unless somebody is told of them already.

    Args:
        classifier: The model; with ``on_evaluated``, such as the monitor's, it tells that instead.
        title: See `progress_shown`.
        total: See `progress_shown`.
    """
    if classifier.on_evaluated is not None:
        yield
        return
    with progress_shown(title, total) as advance:
        classifier.on_evaluated = advance
        try:
            yield
        finally:
            classifier.on_evaluated = None


class _LateBar:
    """A bar that is made only when two seconds are over: what is quick does not even import tqdm."""

    def __init__(self, title: str, total: int | None, show: ShowBar) -> None:
        self._title = title
        self._total = total
        self._show = show
        self._done = 0
        self._began = time.perf_counter()
        self._bar: Bar | None = None

    def advance(self, count: int) -> None:
        """Count evaluations."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.perf_counter() - self._began >= QUIET_SECONDS:
            self._bar = self._show(self._title, self._total, self._done)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
