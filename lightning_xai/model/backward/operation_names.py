"""One name for each torch operation, whichever of its aliases and forms the model calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

_ALIASES = {
    "_threshold": "threshold",
    "absolute": "abs",
    "arccos": "acos",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "expit": "sigmoid",
    "log_sigmoid": "logsigmoid",
    "multiply": "mul",
    "negative": "neg",
    "subtract": "sub",
    "true_divide": "div",
}
_OF_THE_FIRST = frozenset({"div", "pow", "clamp", "clamp_min", "clamp_max", "prelu", "grid_sample"})


def operation_name(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the usual name of a call of a torch function or method.

    Operations that work in place have the name of those that do not. What is another function of its second argument
    has the name of Python's reflected operator where only that one depends on the images: ``1 / x`` is ``__rdiv__``.

    Example:
        >>> import torch
        >>> operation_name(torch.special.expit, (torch.ones(1),), {})
        'sigmoid'
        >>> operation_name(torch.div, (1.0, torch.ones(1, requires_grad=True)), {})
        '__rdiv__'
    """
    full = getattr(func, "__name__", "")
    bare = full if full.startswith("__") else full.rstrip("_").removeprefix("special_")
    name = _ALIASES.get(bare, bare)
    first = args[0] if args else kwargs.get("input")
    if name == "max" and isinstance(kwargs.get("other", args[1] if len(args) > 1 else None), Tensor):
        return "maximum"
    if name == "div" and kwargs.get("rounding_mode") is not None:
        return "floor_divide"
    if name in _OF_THE_FIRST and not depends(first):
        return f"__r{name}__"
    return name


def depends(value: Any) -> bool:
    """Return whether a tensor, or one of several in a tuple or list, requires a gradient."""
    if isinstance(value, list | tuple):
        return any(depends(v) for v in value)
    return isinstance(value, Tensor) and value.requires_grad


def count_dependent(values: Any) -> int:
    """Return how many of ``values``, in lists and tuples as well, are tensors that require a gradient."""
    return sum(count_dependent(v) if isinstance(v, list | tuple) else depends(v) for v in values)
