"""Lazy public names (PEP 562): a package lists its names, a name is imported when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, names: Mapping[str, str], *, renamed: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for ``package`` whose ``names`` map to modules below it.

    Args:
        package: ``__name__`` of the package.
        names: Public name -> module relative to the package, such as ``{"GradCAM": "cam.grad_cam"}``; with a dot in
            front, relative to the package above it.
        renamed: Name of an earlier version -> what to use instead, which the error then says.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in names:
            value = getattr(import_module(f".{names[name]}", package), name)
            setattr(sys.modules[package], name, value)  # the next use finds it at once
            return value
        if name in (renamed or {}):
            # of an AttributeError, `from package import name` would drop the text
            raise ImportError(f"`{package}.{name}` has another name now: use `{(renamed or {})[name]}`.")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(names)

    return __getattr__, __dir__, sorted(names)
