"""Buffers: which there are, and their values."""

# ruff: noqa: SLF001 - a module keeps its buffers under a private name

from __future__ import annotations

import torch
from torch import nn

from lightning_xai.model.restore.piece import Restore, together
from lightning_xai.model.restore.tables import table_entries
from lightning_xai.model.restore.tensor_values import TensorValues


def buffers(modules: list[nn.Module]) -> Restore:
    """Note which buffers there are, and their values."""
    entries = table_entries(m._buffers for m in modules if not isinstance(m, torch.jit.ScriptModule))
    tensors = {id(b): b for module in modules for b in module._buffers.values() if b is not None and not b.is_meta}
    values = TensorValues(list(tensors.values()))
    return together([entries, values.restore])
