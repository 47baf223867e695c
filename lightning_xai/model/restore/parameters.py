"""Parameters: which there are, their flags and gradients, and the values of those that a `forward` writes."""

# ruff: noqa: SLF001 - a module keeps its parameters, and these their hooks, under private names

from __future__ import annotations

import sys
from typing import ClassVar
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_xai.model.restore.piece import Restore, nothing, together
from lightning_xai.model.restore.tables import table_entries
from lightning_xai.model.restore.tensor_values import TensorValues

_written: WeakKeyDictionary[nn.Module, list[ref[Tensor]]] = WeakKeyDictionary()


def parameters(modules: list[nn.Module]) -> Restore:
    """Note ``requires_grad``, ``.grad`` and hooks of each parameter; meanwhile ``.grad`` is None, and no hook runs.

    Raises:
        ValueError: If a lazy module has no parameters yet.
    """
    for module in modules:
        if any(p is not None and is_lazy(p) for p in module._parameters.values()):
            raise ValueError(
                f"Expected the model's parameters to exist, but those of a {type(module).__name__} are still to be "
                "initialised. Run the model on a batch first."
            )
    saved = [(parameter, parameter.requires_grad, parameter.grad) for parameter in _all(modules)]
    for parameter, _, _ in saved:
        parameter.grad = None  # what a plugged-in method accumulates is thrown away, the user's is never added to
    hooks = nothing if is_sharded(modules) else _without_hooks([parameter for parameter, _, _ in saved])

    def restore() -> None:
        for parameter, requires_grad, grad in saved:
            if parameter.requires_grad is not requires_grad:
                parameter.requires_grad_(requires_grad)
            parameter.grad = grad

    return together([restore, hooks])


def parameter_values(modules: list[nn.Module]) -> Restore:
    """Note the values that a `forward` writes, such as prototypes: all the first time that the model runs, then those.

    The first copy of all is on the CPU, where a second set of weights has room.
    """
    model = modules[0]
    if is_sharded(modules):
        return nothing
    if model in _written:
        return TensorValues([parameter for one in _written[model] if (parameter := one()) is not None]).restore
    values = TensorValues([parameter for parameter in _all(modules) if _is_plain(parameter)], device="cpu")
    calls = _Calls(modules)

    def restore() -> None:
        if calls.stop():
            _written[model] = [ref(parameter) for parameter in values.changed()]
        values.restore()

    return restore


def note_call(model: nn.Module) -> None:
    """Tell that a model runs: hooks, which would tell it too, make torch choose other kernels."""
    for calls in _Calls.listening:
        calls.hear(model)


def parameter_tables(modules: list[nn.Module]) -> Restore:
    """Note which parameters and children each module has; who shards a model exchanges its parameters himself."""
    usual = [m for m in modules if not isinstance(m, torch.jit.ScriptModule)]  # of one they can neither come nor go
    children = table_entries(m._modules for m in usual)
    own = nothing if is_sharded(modules) else table_entries(m._parameters for m in usual)
    return together([children, own])


def is_sharded(modules: list[nn.Module]) -> bool:
    """Return whether FullyShardedDataParallel or `fully_shard` moves parameters of the model about."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kinds = tuple(getattr(fsdp, name) for name in ("FullyShardedDataParallel", "FSDPModule") if hasattr(fsdp, name))
    return bool(kinds) and any(issubclass(kind, kinds) for kind in set(map(type, modules)))


def _all(modules: list[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module._parameters.values() if parameter is not None]


def _is_plain(parameter: nn.Parameter) -> bool:
    """Return whether the values can be copied and compared: those of quantised and other special weights cannot."""
    usual = type(parameter) is nn.Parameter and parameter.layout is torch.strided
    return usual and not (parameter.is_meta or parameter.is_quantized)


class _Calls:
    """Listens whether a `Classifier` calls one of some modules."""

    listening: ClassVar[list[_Calls]] = []

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules, self._called = frozenset(map(id, modules)), False
        self.listening.append(self)

    def hear(self, model: nn.Module) -> None:
        self._called |= id(model) in self._modules

    def stop(self) -> bool:
        """Return whether there was a call."""
        self.listening.remove(self)
        return self._called


def _without_hooks(saved: list[nn.Parameter]) -> Restore:
    """Take the hooks on gradients away: they log, or step an optimizer, for gradients that are thrown away."""
    tables = [h for p in saved for h in (p._backward_hooks, p._post_accumulate_grad_hooks) if h]
    restore = table_entries(tables)
    for table in tables:
        table.clear()
    return restore
