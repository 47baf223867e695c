"""Attributes of scripted modules, which live outside Python."""

# ruff: noqa: SLF001 - a ScriptModule shows its attributes nowhere else

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xai.model.restore.tensors import Restore, TensorValues, nothing, together

_READABLE = (bool, int, float, str, type(None), Tensor, list, dict, tuple)  # all come as copies, but for tensors


def scripted_attributes(modules: list[nn.Module]) -> Restore:
    """Note the attributes (counters, tensors, lists) of each ScriptModule that are no buffers and no parameters."""
    pieces: list[Restore] = []
    tensors: list[Tensor] = []
    for module in modules:
        if isinstance(module, torch.jit.ScriptModule):
            for name, value in _attributes(module):
                pieces.append(partial(module._c.setattr, name, value))
                tensors += _tensors_in(value)
    return together([*pieces, TensorValues(tensors).restore]) if pieces else nothing


def _attributes(module: torch.jit.ScriptModule) -> Iterator[tuple[str, Any]]:
    kind = getattr(module, "_concrete_type", None)  # a frozen one has none, and cannot change
    names: Iterable[str] = () if kind is None else kind.get_attributes()
    elsewhere = {"training", "_is_full_backward_hook", *module._parameters.keys(), *module._buffers.keys()}
    for name in set(names) - elsewhere:
        value = module._c.getattr(name)
        if isinstance(value, _READABLE):
            yield name, value


def _tensors_in(value: Any) -> list[Tensor]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return [one for one in children if isinstance(one, Tensor)]
