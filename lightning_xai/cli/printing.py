"""What commands print: as wide as the terminal, and not wrapped where another program or a file takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNWRAPPED = 10_000  # columns


def print_table(table: RenderableType) -> None:
    """Print a table, or several, to standard output."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=_UNWRAPPED)).print(table)
