"""Python state that a `forward` may write: counters, tensors, containers and generators in a module's attributes."""

# ruff: noqa: SLF001 - a module keeps its buffers and children, and a tensor its version, under private names

from __future__ import annotations

import random
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_xai.model.restore.tensors import (
    Restore,
    Table,
    TensorValues,
    is_sharded,
    nothing,
    table_entries,
    together,
)

_MOST_VALUES = 2**26  # of all tensors in attributes together, 256 MiB of float32; buffers have no limit
_DEPTH = 4  # of containers in containers; of the last only what it holds is noted, not what changes in that
_FIXED = frozenset({bool, int, float, complex, str, bytes, type(None), torch.device, torch.dtype, torch.Size, type})
_TABLES = frozenset(vars(nn.Module())) - {"_non_persistent_buffers_set"}  # hooks and such have a note of their own
_GENERATORS = (
    torch.Generator,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    random.Random,
)
_KNOWN = (Tensor, np.ndarray, list, dict, deque, set, tuple, *_GENERATORS)
_LIGHTNING = {"lightning", "pytorch_lightning", "lightning_fabric", "torchmetrics"}
_LIBRARIES = frozenset({"builtins", "torch", "torchao", "bitsandbytes", *_LIGHTNING})


def attributes(modules: list[nn.Module]) -> Restore:
    """Note the attributes of each module, and what in these changes in place.

    That is: lists, deques, dicts, sets and tuples, three deep; tensors and arrays in these; generators; plain objects
    of the model's own packages (meters, records); modules that hide in a list. Other objects, such as trainers, loggers
    and datasets, are noted by identity only. So are tensors beyond the limit, which a warning names if they move.
    """
    if is_sharded(modules):
        return nothing
    notes = _Notes(modules)
    for module in modules:
        notes.note_module(module)
    return notes.restore_all()


class _Notes:
    """What is met in a walk through attributes."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._roots = _roots_of_classes(modules)
        self._seen = {id(module) for module in modules}
        for module in _unscripted(modules):  # these have notes of their own
            self._seen.update(map(id, (*module._parameters.values(), *module._buffers.values())))
        self._tables: list[Table] = []
        self._pieces: list[Restore] = []
        self._tensors: list[Tensor] = []
        self._unnoted: list[tuple[str, Tensor, int]] = []
        self._values_left = _MOST_VALUES

    def restore_all(self) -> Restore:
        return together(
            [TensorValues(self._tensors).restore, *self._pieces, table_entries(self._tables), self._name_unnoted]
        )

    def note_module(self, module: nn.Module) -> None:
        attributes = module.__dict__
        self._tables.append(attributes)
        # states of a torchmetrics.Metric are replaced, or added to in place; the rows in its lists are not written
        depth = 1 if "_defaults" in attributes and hasattr(type(module), "add_state") else _DEPTH
        for name, value in _stateful_attributes(attributes):
            self._note(f"{type(module).__name__}.{name}", value, depth)

    def _note(self, name: str, value: Any, depth: int) -> None:
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self._note_tensor(name, value)
        elif isinstance(value, (list, deque, dict, set, tuple)):
            self._note_container(name, value, depth)
        elif isinstance(value, nn.Module):
            self._note_hidden(name, value, depth)
        elif isinstance(value, (np.ndarray, *_GENERATORS)):
            self._pieces.append(_array(value) if isinstance(value, np.ndarray) else _generator(value))
        elif depth and _is_record(value, self._roots):
            self._note_container(name, vars(value), depth)

    def _note_tensor(self, name: str, tensor: Tensor) -> None:
        if tensor.is_meta or tensor.is_inference():  # the one has no values, the other cannot be written here
            return
        if tensor.numel() > self._values_left:
            self._unnoted.append((name, tensor, tensor._version))
            return
        self._values_left -= tensor.numel()
        self._tensors.append(tensor)

    def _note_container(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, dict):
            self._tables.append(value)
        elif not isinstance(value, tuple):
            self._pieces.append(_items(value))
        children = value.values() if isinstance(value, dict) else value
        if depth > 1 and not _are_fixed(children):
            for child in children:
                self._note(name, child, depth - 1)

    def _note_hidden(self, name: str, root: nn.Module, depth: int) -> None:
        """Note a module that is no child of the model, such as a teacher in a list; its mode is the user's affair."""
        for module in _unscripted(root.modules()) if depth > 1 else ():
            self._seen.add(id(module))
            self._tables += [module._buffers, module._modules]
            for tensor in module._buffers.values():
                self._note(name, tensor, 1)
            self.note_module(module)

    def _name_unnoted(self) -> None:
        for name, tensor, version in self._unnoted:
            if tensor._version != version:
                warnings.warn(
                    f"A forward pass of an explanation wrote to the tensor of shape {tuple(tensor.shape)} in `{name}`, "
                    "which is too large to be noted: it stays changed. Register it as a buffer, which is put back.",
                    stacklevel=2,
                )
                return


def _unscripted(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    return (module for module in modules if not isinstance(module, torch.jit.ScriptModule))


def _items(value: list[Any] | deque[Any] | set[Any]) -> Restore:
    saved = value.copy()

    def restore() -> None:
        if len(value) != len(saved) or any(a is not b for a, b in zip(value, saved, strict=True)):
            value.clear()
            (value.update if isinstance(value, set) else value.extend)(saved)

    return restore


def _array(value: np.ndarray[Any, Any]) -> Restore:
    saved = value.copy()

    def restore() -> None:
        if value.shape != saved.shape:
            value.resize(saved.shape, refcheck=False)
        if value.flags.writeable:
            value[...] = saved

    return restore


def _generator(value: Any) -> Restore:
    if isinstance(value, torch.Generator):
        return _state(value.get_state, value.set_state)
    if isinstance(value, np.random.RandomState):
        return _state(value.get_state, value.set_state)
    if isinstance(value, random.SystemRandom):  # has no state
        return nothing
    if isinstance(value, random.Random):
        return _state(value.getstate, value.setstate)
    bits: Any = value if isinstance(value, np.random.BitGenerator) else value.bit_generator
    return _state(lambda: bits.state, lambda state: setattr(bits, "state", state))


def _state(get: Any, put: Any) -> Restore:
    saved = get()
    return lambda: put(saved)


def hidden_modules(modules: list[nn.Module]) -> list[nn.Module]:
    """Return the modules that are no children of these but stand in a list of theirs, as teachers do."""
    known = set(map(id, modules))
    held = (value for module in modules for _, value in _stateful_attributes(module.__dict__))
    hidden = {id(one): one for value in held for one in _modules_in(value, _DEPTH)}
    return [one for key, one in hidden.items() if key not in known]


def _modules_in(value: Any, depth: int) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield from _unscripted(value.modules())
    elif depth and isinstance(value, (list, deque, dict, set, tuple)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _modules_in(child, depth - 1)


def replace_inference_tensors(modules: list[nn.Module]) -> None:
    """Replace inference-mode tensors among buffers, attributes, and the containers among these by normal ones."""
    for module in modules:
        _replace_in(module._buffers)  # in a ScriptModule, no attribute
        attributes = module.__dict__
        for name, value in _stateful_attributes(attributes):
            attributes[name] = _without_inference_tensors(value)


def _without_inference_tensors(value: Any) -> Any:
    """Return an attribute with normal tensors: itself, changed in place, but for a tensor and a tuple of some."""
    if isinstance(value, (list, deque)) and not _are_fixed(value):
        for place, one in enumerate(value):
            value[place] = _normal(one)
    elif isinstance(value, dict):
        _replace_in(value)
    elif type(value) is tuple and any(_normal(one) is not one for one in value):
        return tuple(map(_normal, value))
    return _normal(value)


def _replace_in(table: dict[Any, Any]) -> None:
    for name, value in [(n, v) for n, v in table.items() if isinstance(v, Tensor) and v.is_inference()]:
        table[name] = value.clone()


def _normal(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _stateful_attributes(attributes: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the attributes of a module, its own tables left out, that may hold something that changes in place."""
    return [(n, v) for n, v in attributes.items() if type(v) not in _FIXED and n not in _TABLES and not _is_fixed(v)]


def _is_fixed(value: Any) -> bool:
    """Return whether a tuple is one of numbers or words, as kernel sizes are."""
    return type(value) is tuple and (not value or type(value[0]) in _FIXED) and _are_fixed(value)


def _are_fixed(values: Iterable[Any]) -> bool:
    """Return whether none of the values can change."""
    return _FIXED.issuperset(map(type, values))


def _roots_of_classes(modules: Iterable[nn.Module]) -> frozenset[str]:
    """Return the packages that a model's own classes come from."""
    kinds = set(map(type, modules))
    return frozenset(kind.__module__.partition(".")[0] for kind in kinds) - _LIBRARIES | {"types"}


def _is_record(value: Any, roots: frozenset[str]) -> bool:
    """Return whether an object is a plain record, such as a meter: of a model's package, of values and containers only.

    So trainers, loggers, datasets of torch, and whatever holds a lock or a file are none.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] not in roots or isinstance(value, type) or not hasattr(value, "__dict__"):
        return False
    bases = {base.__module__.partition(".")[0] for base in kind.__mro__} - {"builtins"}
    return not bases & _LIBRARIES and all(type(v) in _FIXED or isinstance(v, _KNOWN) for v in vars(value).values())
