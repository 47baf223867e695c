"""What in a Python attribute can change without being replaced."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_FIXED = frozenset({bool, int, float, complex, str, bytes, type(None), torch.device, torch.dtype, torch.Size, type})
_TABLES = frozenset(vars(nn.Module())) - {"_non_persistent_buffers_set"}  # hooks and such have a note of their own
GENERATORS = (
    torch.Generator,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    random.Random,
)
_KNOWN = (Tensor, np.ndarray, list, dict, deque, set, tuple, *GENERATORS)
_LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric", "torchmetrics"}
_LIBRARIES = frozenset({"builtins", "torch", "torchao", "bitsandbytes", *_LIGHTNING})


def stateful_attributes(attributes: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the attributes of a module, its own tables left out, that may hold something that changes in place."""
    return [(n, v) for n, v in attributes.items() if type(v) not in _FIXED and n not in _TABLES and not _is_fixed(v)]


def _is_fixed(value: Any) -> bool:
    """Return whether a tuple is one of numbers or words, as kernel sizes are."""
    return type(value) is tuple and (not value or type(value[0]) in _FIXED) and are_fixed(value)


def are_fixed(values: Iterable[Any]) -> bool:
    """Return whether none of the values can change."""
    return _FIXED.issuperset(map(type, values))


def roots_of_classes(modules: Iterable[nn.Module]) -> frozenset[str]:
    """Return the packages that a model's own classes come from."""
    kinds = set(map(type, modules))
    return frozenset(kind.__module__.partition(".")[0] for kind in kinds) - _LIBRARIES | {"types"}


def is_record(value: Any, roots: frozenset[str]) -> bool:
    """Return whether an object is a plain record, such as a meter: of a model's package, of values and containers only.

    So trainers, loggers, datasets of torch, and whatever holds a lock or a file are none.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] not in roots or isinstance(value, type) or not hasattr(value, "__dict__"):
        return False
    bases = {base.__module__.partition(".")[0] for base in kind.__mro__} - {"builtins"}
    return not bases & _LIBRARIES and all(type(v) in _FIXED or isinstance(v, _KNOWN) for v in vars(value).values())
