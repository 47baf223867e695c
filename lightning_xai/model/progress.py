"""A progress bar for evaluations of a model that nobody else watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_xai.model.classifier import Classifier

QUIET_SECONDS = 2.0


@contextmanager
def evaluations_shown(classifier: Classifier, title: str, total: int | None) -> Iterator[None]:
    """Show how many images went through the model in the body, once it has taken two seconds, until it ends.

    The bar is on standard error if that is a terminal, and in notebooks. A classifier with ``on_evaluated``, such as
    the monitor's, tells that instead.

    Args:
        classifier: The model.
        title: Shown before the bar.
        total: Images expected; None if unknown.
    """
    if classifier.on_evaluated is not None:
        yield
        return
    bar = _LateBar(title, total)
    classifier.on_evaluated = bar.advance
    try:
        yield
    finally:
        classifier.on_evaluated = None
        bar.close()


class _LateBar:
    """A tqdm bar that is made only when two seconds are over: what is quick does not even import it."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._began = time.perf_counter()
        self._bar: Any = None

    def advance(self, count: int) -> None:
        """Count evaluations."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.perf_counter() - self._began >= QUIET_SECONDS:
            from tqdm.auto import tqdm

            # `disable=None`: only in a terminal
            self._bar = tqdm(
                desc=self._title, total=self._total, initial=self._done, unit="img", leave=False, disable=None
            )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
