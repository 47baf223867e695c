"""Pieces that are put back, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

Restore: TypeAlias = Callable[[], None]


def restore_each(pieces: Iterable[Restore]) -> None:
    """Put back every piece, whatever happens to the others, then raise the first error.

    Example:
        >>> restore_each([lambda: print("one"), {}.popitem, lambda: print("three")])
        Traceback (most recent call last):
        KeyError: 'popitem(): dictionary is empty'
    """
    first: Exception | None = None
    for restore in pieces:
        try:
            restore()
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def together(pieces: Iterable[Restore]) -> Restore:
    """Return many pieces as one."""
    every = tuple(pieces)
    return lambda: restore_each(every)


def nothing() -> None:
    """Put back nothing."""
