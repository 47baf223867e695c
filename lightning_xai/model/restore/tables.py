"""Tables of a module (attributes, children, hooks): which entries they have."""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_
from typing import Any, TypeAlias

from lightning_xai.model.restore.piece import Restore

Table: TypeAlias = dict[Any, Any]


def table_entries(tables: Iterable[Table]) -> Restore:
    """Note the entries of tables, of which many are empty; those that change are put back by identity."""
    saved = [(table, (table.copy() if type(table) is dict else dict(table)) if table else None) for table in tables]

    def restore() -> None:
        for table, originals in saved:
            if originals is None:
                if table:
                    table.clear()
            elif [*table] != [*originals] or not all(map(is_, table.values(), originals.values())):
                _put_back(table, originals)

    return restore


def _put_back(table: Table, originals: Table) -> None:
    """Change no more than must be: other threads may read the table."""
    for name in table.keys() - originals.keys():
        del table[name]
    for name, value in originals.items():
        if name not in table or table[name] is not value:
            table[name] = value
    if [*table] != [*originals]:  # hooks run, and children are called, in this order
        for name in originals:
            table[name] = table.pop(name)
