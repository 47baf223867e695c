"""Settings of an object: the arguments of its constructor, kept as attributes under the same names."""

from __future__ import annotations

import zlib
from inspect import Parameter, signature
from types import FunctionType
from typing import Any

from torch import Tensor, nn


class Configured:
    """An object whose constructor's arguments are attributes of the same names; ``repr`` shows all of them."""

    def settings(self) -> dict[str, Any]:
        """Return every setting by name, as a table or the key of a cached result needs it.

        Numbers, strings, None and tuples are themselves; a tensor is its shape and a checksum of its values; another
        configured object, a module or a function is its ``repr``, class or name.
        """
        return {name: _plain(value) for name, value in _settings(self).items()}

    def __repr__(self) -> str:
        """Return the class with all settings, defaults included."""
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in _settings(self).items())
        return f"{type(self).__name__}({shown})"


def setting_names(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the constructor's arguments, without collections of further ones."""
    collected = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return tuple(name for name, p in signature(kind).parameters.items() if p.kind not in collected)


def _settings(configured: Configured) -> dict[str, Any]:
    kind = type(configured)
    missing = [name for name in setting_names(kind) if not hasattr(configured, name)]
    if missing:
        raise AttributeError(
            f"Expected {kind.__name__} to keep its arguments as attributes of the same names, but it has no "
            f"{', '.join(f'`{name}`' for name in missing)}."
        )
    return {name: getattr(configured, name) for name in setting_names(kind)}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        # not the bytes of numpy, which knows no bfloat16
        return f"{_shown(value)} #{zlib.crc32(repr(value.detach().cpu().double().flatten().tolist()).encode()):08x}"
    if isinstance(value, (list, tuple)):
        return tuple(_plain(part) for part in value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"Tensor{tuple(value.shape)}"
    if isinstance(value, nn.Module) and not isinstance(value, Configured):
        return type(value).__name__
    if isinstance(value, FunctionType):
        return f"{value.__module__}.{value.__qualname__}"  # no address, which differs from process to process
    return repr(value)
