"""The table of accuracy and explanation scores that ends a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_xai.probing.decisions.alignment import LEAST_EPOCHS, Alignment

if TYPE_CHECKING:
    from rich.table import Table

_MOST_NAMED = 8  # epochs of a front


def table_of(alignments: Sequence[Alignment], others: Sequence[str] = ()) -> Table:
    """Return the table of a fit, a row per score.

    Args:
        alignments: Accuracy and score, as `AccuracyAlignment.alignments` returns them.
        others: Logged metrics that might be the accuracy, too.
    """
    from rich.markup import escape
    from rich.table import Table

    caption = (
        "Interval: by the number of independent epochs, because neighbouring ones resemble each other. "
        "Front: the epochs that no other beats in both."
    )
    if others:
        caption += f" AccuracyAlignment(monitor=...) can name another accuracy: {', '.join(map(escape, others))}."
    table = Table(title="Accuracy and explanation quality over epochs", caption=caption, caption_justify="left")
    for column in ("score", "accuracy", "epochs", "Spearman", "95 % interval", "independent epochs", "front"):
        table.add_column(
            column,
            justify="right" if column in {"epochs", "Spearman", "independent epochs"} else "left",
            overflow="fold",
        )
    for one in alignments:
        table.add_row(*map(escape, _row(one)))
    return table


def _row(one: Alignment) -> list[str]:
    """Return the cells of a row."""
    num_points, found = len(one.points), one.correlation()
    epochs = str(num_points) if num_points == one.num_explained else f"{num_points} of {one.num_explained}"
    if found is not None:
        numbers = [f"{found.value:.2f}", f"{found.low:.2f} to {found.high:.2f}", f"{found.effective:.1f}"]
    elif num_points < LEAST_EPOCHS:
        numbers = ["-", f"needs {LEAST_EPOCHS} explained epochs", "-"]
    else:
        numbers = ["-", "one of them is constant", "-"]
    names = one.names_of(one.front())
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    front = f"{', '.join(names[-_MOST_NAMED:])}{more}" if names else "-"
    return [one.score, one.accuracy, epochs, *numbers, front]
