"""Tensors and tables of a model (parameters, buffers, children, hooks): noted, and each put back on its own."""

# ruff: noqa: SLF001 - a module keeps its parameters and buffers, and a parameter its hooks, under private names

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import is_
from typing import Any, ClassVar, TypeAlias
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Restore: TypeAlias = Callable[[], None]
Table: TypeAlias = dict[Any, Any]

_SMALL = 2**16
_written: WeakKeyDictionary[nn.Module, list[ref[Tensor]]] = WeakKeyDictionary()


def restore_each(pieces: Iterable[Restore]) -> None:
    """Put back every piece, whatever happens to the others, then raise the first error.

    Example:
        >>> restore_each([lambda: print("one"), {}.popitem, lambda: print("three")])
        Traceback (most recent call last):
        KeyError: 'popitem(): dictionary is empty'
    """
    first: Exception | None = None
    for restore in pieces:
        try:
            restore()
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def together(pieces: Iterable[Restore]) -> Restore:
    """Return many pieces as one."""
    every = tuple(pieces)
    return lambda: restore_each(every)


def nothing() -> None:
    """Put back nothing."""


def table_entries(tables: Iterable[Table]) -> Restore:
    """Note the entries of tables, of which many are empty; those that change are put back by identity."""
    saved = [(table, (table.copy() if type(table) is dict else dict(table)) if table else None) for table in tables]

    def restore() -> None:
        for table, originals in saved:
            if originals is None:
                if table:
                    table.clear()
            elif [*table] != [*originals] or not all(map(is_, table.values(), originals.values())):
                _put_back(table, originals)

    return restore


def _put_back(table: Table, originals: Table) -> None:
    """Change no more than must be: other threads may read the table."""
    for name in table.keys() - originals.keys():
        del table[name]
    for name, value in originals.items():
        if name not in table or table[name] is not value:
            table[name] = value
    if [*table] != [*originals]:  # hooks run, and children are called, in this order
        for name in originals:
            table[name] = table.pop(name)


class TensorValues:
    """The values of tensors, also of such that are resized in place.

    Args:
        tensors: Each once.
        device: Where the copies are kept; where the tensors are if None.
    """

    def __init__(self, tensors: Sequence[Tensor], device: str | None = None) -> None:
        self._groups = [_Group(group, device) for group in _together(tensors)]

    def restore(self) -> None:
        """Write back what changed; what stayed equal is not written, which would be a change for autograd."""
        restore_each(group.restore for group in self._groups)

    def changed(self) -> list[Tensor]:
        """Return the tensors that are not equal to their copies."""
        return [tensor for group in self._groups for tensor, _ in group.changed()]


def _together(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return small plain tensors by type and device, and each other one (large, sparse, of a subclass) by itself."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        plain = type(tensor) in {Tensor, nn.Parameter} and tensor.layout is torch.strided and not tensor.is_quantized
        joined = plain and tensor.numel() <= _SMALL
        groups.setdefault((tensor.dtype, tensor.device) if joined else id(tensor), []).append(tensor)
    return list(groups.values())


class _Group:
    """Copies of tensors of one type on one device, made and compared by one operation for all of them.

    One by one, the statistics of a ResNet-50 cost 159 copies and, on CUDA, as many waits for the answer.
    """

    def __init__(self, tensors: list[Tensor], device: str | None) -> None:
        self._tensors, self._device = tensors, device
        self._shapes = [tensor.shape for tensor in tensors]
        whole = tensors[0].detach() if len(tensors) == 1 else _in_a_row(tensors)
        self._copy = whole.to(device or whole.device, copy=len(tensors) == 1)

    def restore(self) -> None:
        restore_each(partial(_write_back, tensor, value) for tensor, value in self.changed())

    def changed(self) -> list[tuple[Tensor, Tensor]]:
        """Return what changed, with its values; a version tells nothing, as BatchNorm writes without raising it."""
        same_shapes = [tensor.shape for tensor in self._tensors] == self._shapes
        if len(self._tensors) > 1 and same_shapes and torch.equal(self._kept(_in_a_row(self._tensors)), self._copy):
            return []
        pairs = zip(self._tensors, self._values(), strict=True)
        # of sparse tensors nothing tells whether they are equal
        return [(t, v) for t, v in pairs if t.layout is not torch.strided or not torch.equal(self._kept(t.detach()), v)]

    def _kept(self, tensor: Tensor) -> Tensor:
        return tensor if self._device is None else tensor.to(self._device)

    def _values(self) -> list[Tensor]:
        if len(self._tensors) == 1:
            return [self._copy]
        parts = torch.split(self._copy, [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def _write_back(tensor: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        if tensor.shape != value.shape:
            tensor.resize_(value.shape)
        tensor.copy_(value)


def _in_a_row(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


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


def parameter_values(modules: list[nn.Module], hidden: Callable[[list[nn.Module]], list[nn.Module]]) -> Restore:
    """Note the values that a `forward` writes, such as prototypes: all the first time that the model runs, then those.

    The first copy of all is on the CPU, where a second set of weights has room.

    Args:
        modules: The model and all below it.
        hidden: Finds further modules that it may write to.
    """
    model = modules[0]
    if is_sharded(modules):
        return nothing
    if model in _written:
        return TensorValues([parameter for one in _written[model] if (parameter := one()) is not None]).restore
    others = hidden(modules)
    written = {id(p): p for p in _all(modules if is_sharded(others) else [*modules, *others]) if _is_plain(p)}
    values = TensorValues(list(written.values()), device="cpu")
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


def buffers(modules: list[nn.Module]) -> Restore:
    """Note which buffers there are, and their values."""
    entries = table_entries(m._buffers for m in modules if not isinstance(m, torch.jit.ScriptModule))
    tensors = {id(b): b for module in modules for b in module._buffers.values() if b is not None and not b.is_meta}
    values = TensorValues(list(tensors.values()))
    return together([entries, values.restore])
