"""A progress bar for explanations that take long enough to wonder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_QUIET_SECONDS = 2.0


@contextmanager
def evaluations_shown(trainer: Trainer, total: int) -> Iterator[Callable[[int], None] | None]:
    """Yield what is told of every model evaluation; a bar appears after two seconds and goes when it is done.

    Args:
        trainer: Shows nothing where its own progress bar is off, and on other ranks than zero.
        total: Evaluations expected.
    """
    if trainer.progress_bar_callback is None or not trainer.is_global_zero:
        yield None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="Explaining", unit="img", leave=False, delay=_QUIET_SECONDS) as bar:
        yield bar.update
