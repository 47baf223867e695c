"""Settings of an object: the arguments of its constructor, kept as attributes under the same names."""

from __future__ import annotations

import zlib
from functools import partial
from importlib import import_module
from inspect import Parameter, signature
from types import CodeType, FunctionType
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class OfAnything(Protocol):
    """A function of one value.

    It stands before `Callable` in the hint of a setting that is a function or a text: of `Callable` alone, jsonargparse
    since 4.52 writes such a text as "Unable to serialize" into the config that a LightningCLI saves; older versions do
    not take the path of a function for this protocol.
    """

    def __call__(self, value: Any, /) -> Any:
        """Return what is read from the value."""


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


def stored(configured: Configured) -> dict[str, Any] | None:
    """Return a configured object as plain JSON that `restored` reads; None if a setting is no value.

    Example:
        >>> from lightning_xai import PointingGame
        >>> stored(PointingGame(tolerance=3))
        {'class_path': 'lightning_xai.metrics.localization.pointing_game.PointingGame', 'init_args': {'tolerance': 3}}
    """
    settings = _settings(configured)
    if not all(map(_is_value, settings.values())):
        return None
    kind = type(configured)
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": settings}


def restored(state: dict[str, Any], base: type[Any]) -> Any:
    """Return the object that `stored` described.

    Args:
        state: Class and arguments; lists stand for tuples.
        base: What the class must be a subclass of: a file could name any.

    Raises:
        TypeError: If it is none.
    """
    module, _, name = str(state["class_path"]).rpartition(".")
    kind = getattr(import_module(module), name)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise TypeError(f"Expected {state['class_path']} to be a subclass of {base.__name__}, but it is not.")
    return kind(**{argument: _with_tuples(value) for argument, value in state["init_args"].items()})


def setting_names(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the constructor's arguments, without collections of further ones."""
    collected = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return tuple(name for name, p in signature(kind).parameters.items() if p.kind not in collected)


def unlike_defaults(configured: Configured) -> list[str]:
    """Return the settings that are not their defaults, or have none, in words.

    Example:
        >>> from lightning_xai import PointingGame
        >>> unlike_defaults(PointingGame(tolerance=3)), unlike_defaults(PointingGame())
        (['tolerance=3'], [])
    """
    defaults = {name: _shown(one.default) for name, one in signature(type(configured)).parameters.items()}
    shown = {name: _shown(value) for name, value in _settings(configured).items()}
    return [f"{name}={value}" for name, value in shown.items() if value != defaults[name]]


def in_words(value: Any) -> str:
    """Return any value in words that differ where it differs, and are the same in every process.

    Example:
        >>> in_words([1, torch.nn.functional.relu]) != in_words([1, torch.nn.functional.gelu])
        True
    """
    return _shown(value)


def _settings(configured: Configured) -> dict[str, Any]:
    kind = type(configured)
    missing = [name for name in setting_names(kind) if not hasattr(configured, name)]
    if missing:
        raise AttributeError(
            f"Expected {kind.__name__} to keep its arguments as attributes of the same names, but it has no "
            f"{', '.join(f'`{name}`' for name in missing)}."
        )
    return {name: getattr(configured, name) for name in setting_names(kind)}


def _is_value(value: Any) -> bool:
    """Return whether a setting is a value that JSON can hold: a number, a string, None, or a sequence of such."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_value, value))
    return value is None or type(value) in {str, int, float, bool}


def _with_tuples(value: Any) -> Any:
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(part) for part in value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _shown(value)


def _shown(value: Any) -> str:
    """Return a value in words that differ where it differs, and are the same in every process: without addresses."""
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"Tensor{tuple(value.shape)} #{zlib.crc32(content):08x}"
    if isinstance(value, nn.Module) and not isinstance(value, Configured):
        return type(value).__name__
    if isinstance(value, FunctionType):
        name = f"{value.__module__}.{value.__qualname__}"
        return (
            f"{name} #{zlib.crc32(repr(_content(value)).encode()):08x}" if "<" in name else name
        )  # a name says all but of these
    if isinstance(value, partial):
        named = (f"{name}={_shown(part)}" for name, part in value.keywords.items())
        return f"partial({', '.join([_shown(value.func), *map(_shown, value.args), *named])})"
    if isinstance(value, (list, tuple)) and any(not isinstance(part, (str, int, float)) for part in value):
        return f"{type(value).__name__}({', '.join(map(_shown, value))})"
    return repr(value)


def _content(function: FunctionType) -> tuple[object, ...]:
    """Return what a function without a name of its own does: its code, and the values that it was made with."""
    code = function.__code__
    constants = [value for value in code.co_consts if not isinstance(value, CodeType)]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    made_with = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *cells)
    return code.co_code, code.co_names, constants, [_shown(value) for value in made_with if value is not function]
