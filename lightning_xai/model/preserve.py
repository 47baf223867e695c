"""Leave no trace: the one way in which this package touches a user's model."""

# ruff: noqa: SLF001 - a module keeps its buffers, hooks and parameters under private names, and offers no other way

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_entered: ContextVar[tuple[frozenset[int], ...]] = ContextVar("entered", default=())


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Run the body in eval mode with gradients enabled, and leave ``model`` and the process as they were.

    Restored, also when the body raises: train/eval per submodule, ``requires_grad`` and ``.grad`` of each parameter,
    buffers (values and identity), hooks, states of torchmetrics inside the model, the random states of torch (CPU and
    CUDA), numpy and python. Inside, inference mode is left, compiled models run eagerly, and ``log``/``log_dict`` of
    LightningModules do nothing. Tensors that an earlier inference-mode pass cached on the model are replaced by normal
    copies, because autograd (and later training) cannot use them. Nested entries for the same model are free.

    Args:
        model: Any module; its parameters' values are the caller's responsibility.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(2, 1).train()
        >>> with preserved(net):
        ...     net.training
        False
        >>> net.training
        True
    """
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        if not any(id(model) in known for known in _entered.get()):
            modules = list(model.modules())
            token = _entered.set((*_entered.get(), frozenset(map(id, modules))))
            stack.callback(_entered.reset, token)
            if "torch._dynamo" in sys.modules:  # nothing can be compiled before it is imported, which is slow
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.callback(random_states())
            replace_inference_tensors(modules)
            for note in _NOTED:
                stack.callback(note(modules))
        yield


Restore: TypeAlias = Callable[[], None]

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_TABLES = frozenset({"_parameters", "_buffers", "_modules", *_HOOKS})


def random_states() -> Restore:
    """Note the random states of torch (CPU and CUDA), numpy and python."""
    cpu, python, arrays = torch.get_rng_state(), random.getstate(), np.random.get_state()
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if used else None

    def restore() -> None:
        torch.set_rng_state(cpu)
        random.setstate(python)
        np.random.set_state(arrays)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return restore


def replace_inference_tensors(modules: list[nn.Module]) -> None:
    """Replace inference-mode tensors among buffers, attributes, and the lists and dicts among these by normal ones."""
    for module in modules:
        _replace_in(module._buffers)  # in a ScriptModule, no attribute
        attributes = module.__dict__
        for name in [n for n, v in attributes.items() if v is not None and type(v) not in _SIMPLE and n not in _TABLES]:
            value = attributes[name]
            if isinstance(value, Tensor):
                attributes[name] = _normal(value)
            elif type(value) is list:
                value[:] = [_normal(one) for one in value]
            elif isinstance(value, dict) and value:
                _replace_in(value)


_SIMPLE = frozenset({bool, int, float, str, tuple})  # of most attributes, which hold no tensors


def _replace_in(table: dict[Any, Any]) -> None:
    for name, value in [(n, v) for n, v in table.items() if isinstance(v, Tensor) and v.is_inference()]:
        table[name] = value.clone()


def _normal(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def parameters(modules: list[nn.Module]) -> Restore:
    """Note ``requires_grad`` and ``.grad`` of each parameter; meanwhile ``.grad`` is None.

    Raises:
        ValueError: If a lazy module has no parameters yet.
    """
    for module in modules:
        if any(p is not None and is_lazy(p) for p in module._parameters.values()):
            raise ValueError(
                f"Expected the model's parameters to exist, but those of a {type(module).__name__} are still to be "
                "initialised. Run the model on a batch first."
            )
    saved = [
        (parameter, parameter.requires_grad, parameter.grad)
        for module in modules
        for parameter in module._parameters.values()
        if parameter is not None
    ]
    for parameter, _, _ in saved:
        parameter.grad = None  # what a plugged-in method accumulates is thrown away, the user's is never added to

    def restore() -> None:
        for parameter, requires_grad, grad in saved:
            if parameter.requires_grad is not requires_grad:
                parameter.requires_grad_(requires_grad)
            parameter.grad = grad

    return restore


def buffers(modules: list[nn.Module]) -> Restore:
    """Note which buffers there are, and their values."""
    saved = _contents(m._buffers for m in modules if not isinstance(m, torch.jit.ScriptModule))
    tensors = {id(b): b for module in modules for b in module._buffers.values() if b is not None and not b.is_meta}
    values = [_Values(group) for group in _together(list(tensors.values()))]

    def restore() -> None:
        _put_back(saved)
        for group in values:
            group.restore()

    return restore


_Table: TypeAlias = dict[Any, Any]


def _contents(tables: Iterable[_Table]) -> list[tuple[_Table, _Table | None]]:
    """Note what is in tables, of which nearly all are empty: None."""
    return [(table, dict(table) if table else None) for table in tables]


def _put_back(saved: list[tuple[_Table, _Table | None]]) -> None:
    for table, originals in saved:
        if table:
            table.clear()
        if originals is not None:
            table.update(originals)


_SMALL = 2**16


def _together(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Return small plain tensors by type and device, and each other one (large, sparse, of a subclass) by itself."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        plain = type(tensor) is Tensor and tensor.layout is torch.strided and not tensor.is_quantized
        joined = plain and tensor.numel() <= _SMALL
        groups.setdefault((tensor.dtype, tensor.device) if joined else id(tensor), []).append(tensor)
    return list(groups.values())


class _Values:
    """Copies of tensors of one type on one device, made and compared by one operation for all of them.

    One by one, the statistics of a ResNet-50 cost 159 copies and, on CUDA, as many waits for the answer.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors
        self._shapes = [tensor.shape for tensor in tensors]
        self._copy = tensors[0].detach().clone() if len(tensors) == 1 else _in_a_row(tensors)

    def restore(self) -> None:
        """Write back what changed; a version tells nothing, because BatchNorm writes without raising it."""
        if len(self._tensors) > 1 and torch.equal(_in_a_row(self._tensors), self._copy):
            return
        with torch.no_grad():
            for tensor, value in zip(self._tensors, self._values(), strict=True):
                # what is equal is not written, which would be a change for autograd; of sparse tensors nothing tells
                if tensor.layout is not torch.strided or not torch.equal(tensor, value):
                    tensor.copy_(value)

    def _values(self) -> list[Tensor]:
        if len(self._tensors) == 1:
            return [self._copy]
        parts = torch.split(self._copy, [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def _in_a_row(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def hooks(modules: list[nn.Module]) -> Restore:
    """Note the hooks of each module."""
    saved = _contents(
        table for module in modules for name in _HOOKS if (table := module.__dict__.get(name)) is not None
    )
    full = [(module, module.__dict__.get("_is_full_backward_hook")) for module in modules]

    def restore() -> None:
        _put_back(saved)
        for module, is_full in full:
            if module.__dict__.get("_is_full_backward_hook") is not is_full:
                module._is_full_backward_hook = is_full

    return restore


def metric_states(modules: list[nn.Module]) -> Restore:
    """Note the attributes of each torchmetrics.Metric (it has ``_defaults``) and the groups of each collection."""
    saved = []
    for module in modules:
        attributes = module.__dict__
        if "_defaults" in attributes and hasattr(type(module), "add_state"):
            saved.append((attributes, {name: _copied(value) for name, value in attributes.items()}))
        elif "_groups_checked" in attributes:
            saved.append((attributes, {**attributes, "_groups": deepcopy(attributes["_groups"])}))

    def restore() -> None:
        for attributes, values in saved:
            attributes.clear()
            attributes.update(values)

    return restore


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return list(value) if type(value) is list else value


def modes(modules: list[nn.Module]) -> Restore:
    """Note the mode of each module, not by `train()`, which modules override; meanwhile all are in eval mode."""
    saved = [(module, module.training) for module in modules]
    for module, training in saved:
        if training:
            module.training = False

    def restore() -> None:
        for module, training in saved:
            if module.training is not training:
                module.training = training

    return restore


def muted(modules: list[nn.Module]) -> Restore:
    """Let ``log`` and ``log_dict`` of LightningModules do nothing until restored."""
    names = ("log", "log_dict")
    logging = {kind for kind in set(map(type, modules)) if all(callable(getattr(kind, name, None)) for name in names)}
    loggers = [module for module in modules if type(module) in logging]
    saved = [(m.__dict__, {name: m.__dict__[name] for name in names if name in m.__dict__}) for m in loggers]
    for attributes, _ in saved:
        attributes.update(dict.fromkeys(names, _silent))

    def restore() -> None:
        for attributes, values in saved:
            for name in names:
                attributes.pop(name, None)
            attributes.update(values)

    return restore


def _silent(*_: object, **__: object) -> None:
    """Stand in for `LightningModule.log` while a model is explained."""


_NOTED = (parameters, buffers, hooks, metric_states, modes, muted)
