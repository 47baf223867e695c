"""Public classes by alias (the snake_case of their name), loaded when they are first asked for."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from lightning_xai._checks import check_choice


class Registry:
    """A table of alias -> ``module:Class`` of one kind (explainers or metrics)."""

    def __init__(self, kind: str, package: str, entries: dict[str, str]) -> None:
        self._kind = kind
        self._package = package
        self._entries = entries

    def names(self, family: str | None = None) -> list[str]:
        """Return the aliases, sorted; of one family (a folder such as ``"cam"``) if given.

        Raises:
            ValueError: If the family is unknown.
        """
        families = sorted({path.split(".")[0] for path in self._entries.values()})
        if family is None:
            return sorted(self._entries)
        check_choice(family, families, "family")
        return sorted(alias for alias, path in self._entries.items() if path.startswith(f"{family}."))

    def load(self, alias: str) -> type[Any]:
        """Return the class of ``alias``.

        Raises:
            ValueError: If the alias is unknown; lists the known ones and the nearest match.
        """
        check_choice(alias, sorted(self._entries), self._kind)
        module, _, name = self._entries[alias].partition(":")
        loaded: type[Any] = getattr(import_module(f"{self._package}.{module}"), name)
        return loaded


def alias_of(cls: type[Any]) -> str:
    """Return the alias of a class: its file's name in this package, elsewhere the snake_case of its name."""
    package, _, file = cls.__module__.rpartition(".")
    if package.startswith("lightning_xai."):
        return file
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
