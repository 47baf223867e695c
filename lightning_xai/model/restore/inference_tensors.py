"""Tensors that were made in inference mode, which autograd cannot use."""

# ruff: noqa: SLF001 - a ScriptModule has its buffers nowhere else

from __future__ import annotations

from collections import deque
from typing import Any

from torch import Tensor, nn

from lightning_xai.model.restore.state_types import are_fixed, stateful_attributes


def replace_inference_tensors(modules: list[nn.Module]) -> None:
    """Replace inference-mode tensors among buffers, attributes, and the containers among these by normal ones."""
    for module in modules:
        _replace_in(module._buffers)  # in a ScriptModule, no attribute
        attributes = module.__dict__
        for name, value in stateful_attributes(attributes):
            if isinstance(value, Tensor):
                attributes[name] = _normal(value)
            elif isinstance(value, (list, deque)) and not are_fixed(value):
                for place, one in enumerate(value):
                    value[place] = _normal(one)
            elif isinstance(value, dict):
                _replace_in(value)
            elif type(value) is tuple and any(_normal(one) is not one for one in value):
                attributes[name] = tuple(map(_normal, value))


def _replace_in(table: dict[Any, Any]) -> None:
    for name, value in [(n, v) for n, v in table.items() if isinstance(v, Tensor) and v.is_inference()]:
        table[name] = value.clone()


def _normal(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
