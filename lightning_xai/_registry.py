"""Public classes by alias (the snake_case of their name), loaded when they are first asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from lightning_xai._checks import check_choice

Kind = TypeVar("Kind")


class Registry(Generic[Kind]):
    """The one table of a kind (explainers, metrics): alias -> ``folder.file:Class``, and what other packages add.

    Another package joins by an entry point, whose name is the alias of its class:
    ``[project.entry-points."lightning_xai.metrics"]`` with ``my_metric = "my_package.my_metric:MyMetric"``.

    Args:
        kind: Word for errors, such as ``"metric"``.
        package: Below which the built-in classes lie; also the group of the entry points.
        base: ``module:Class`` that every class of this kind is a subclass of.
        builtin: The table.
        known_as: Names that are no alias but lead to one, such as the key of a logged value; for errors.
    """

    def __init__(
        self, kind: str, package: str, base: str, builtin: Mapping[str, str], known_as: Mapping[str, str] | None = None
    ) -> None:
        self._kind = kind
        self._package = package
        self._base = base
        self.builtin = builtin
        self.known_as = known_as or {}

    @cached_property
    def _foreign(self) -> dict[str, EntryPoint]:
        """Entry points of other packages; one that takes the alias of a built-in class is left out."""
        found = sorted(entry_points(group=self._package), key=lambda entry: entry.value)
        return {entry.name: entry for entry in found if entry.name not in self.builtin}

    @property
    def public_names(self) -> dict[str, str]:
        """Name of each built-in class -> its module below the package."""
        return {name: module for module, _, name in (path.partition(":") for path in self.builtin.values())}

    def names(self, family: str | None = None) -> list[str]:
        """Return all aliases, sorted; only the built-in ones of a family (a folder such as ``"cam"``) if given.

        Raises:
            ValueError: If the family is unknown.
        """
        if family is None:
            return sorted({*self.builtin, *self._foreign})
        check_choice(family, sorted({path.split(".")[0] for path in self.builtin.values()}), "family")
        return sorted(alias for alias, path in self.builtin.items() if path.startswith(f"{family}."))

    def load(self, alias: str) -> type[Kind]:
        """Return the class of ``alias``.

        Raises:
            ValueError: If the alias is unknown; names the one that was meant, or lists all and the nearest match.
            TypeError: If an entry point of another package is no class of this kind, or is not named by its alias.
        """
        if alias in self.known_as and alias not in self._foreign:
            raise ValueError(
                f"Expected `{self._kind}` to be an alias, but got {alias!r}, the key of a value: pass "
                f"{self.known_as[alias]!r}, which has it."
            )
        check_choice(alias, self.names(), self._kind)
        if alias not in self.builtin:
            return self._checked(self._foreign[alias])
        loaded: type[Kind] = _imported(f"{self._package}.{self.builtin[alias]}")
        return loaded

    def make(self, alias: str, **settings: Any) -> Kind:
        """Return a new object of the class of ``alias``."""
        return self.load(alias)(**settings)

    def _checked(self, entry: EntryPoint) -> type[Kind]:
        loaded: Any = entry.load()
        base = _imported(self._base)
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise TypeError(
                f"Expected the entry point {entry.name!r} of `{self._package}` to be a subclass of {base.__name__}, "
                f"but {entry.value} is {loaded!r}."
            )
        if alias_of(loaded) != entry.name:
            raise TypeError(
                f"Expected the entry point of {entry.value} in `{self._package}` to have the alias of the class as its "
                f"name, {alias_of(loaded)!r}, but got {entry.name!r}."
            )
        kind: type[Kind] = loaded
        return kind


def alias_of(cls: type[Any]) -> str:
    """Return the alias of a class: its file's name in this package, elsewhere the snake_case of its name."""
    package, _, file = cls.__module__.rpartition(".")
    if package.startswith("lightning_xai."):
        return file
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def family_of(cls: type[Any]) -> str:
    """Return the folder of a class of this package, ``"custom"`` for one defined elsewhere."""
    return cls.__module__.split(".")[-2] if cls.__module__.startswith("lightning_xai.") else "custom"


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
