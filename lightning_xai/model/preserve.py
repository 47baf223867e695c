"""Leave no trace: the one way in which this package touches a user's model."""

# ruff: noqa: SLF001 - a module keeps its buffers, hooks and parameters under private names, and offers no other way

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
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
_TABLES = ("_parameters", "_buffers", "_modules", *_HOOKS)


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
        attributes = module.__dict__
        dicts = [value for name, value in attributes.items() if isinstance(value, dict) and name not in _TABLES]
        tables: list[dict[Any, Any]] = [module._buffers, attributes, *dicts]
        for table in tables:
            for name, value in list(table.items()):
                if isinstance(value, Tensor) and value.is_inference():
                    table[name] = value.clone()
        for values in attributes.values():
            if type(values) is list:
                values[:] = [v.clone() if isinstance(v, Tensor) and v.is_inference() else v for v in values]


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
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad

    return restore


def buffers(modules: list[nn.Module]) -> Restore:
    """Note which buffers there are, and their values."""
    saved = [(m._buffers, dict(m._buffers)) for m in modules if not isinstance(m, torch.jit.ScriptModule)]
    tensors = [b for module in modules for b in module.buffers(recurse=False) if not b.is_meta]
    values = [(buffer, buffer.detach().clone()) for buffer in tensors]

    def restore() -> None:
        for table, originals in saved:
            table.clear()
            table.update(originals)
        with torch.no_grad():
            for buffer, value in values:
                if not torch.equal(buffer, value):  # its version tells nothing: BatchNorm writes without raising it
                    buffer.copy_(value)

    return restore


def hooks(modules: list[nn.Module]) -> Restore:
    """Note the hooks of each module."""
    saved = [
        (table, dict(table))
        for module in modules
        for name in _HOOKS
        if (table := module.__dict__.get(name)) is not None
    ]
    full = [(module, module.__dict__.get("_is_full_backward_hook")) for module in modules]

    def restore() -> None:
        for table, originals in saved:
            table.clear()
            table.update(originals)
        for module, is_full in full:
            module._is_full_backward_hook = is_full

    return restore


def metric_states(modules: list[nn.Module]) -> Restore:
    """Note the attributes of each torchmetrics.Metric (it has ``_defaults``) and the groups of each collection."""
    saved = []
    for module in modules:
        attributes = module.__dict__
        if hasattr(module, "_defaults") and hasattr(module, "add_state"):
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
    for module in modules:
        module.training = False

    def restore() -> None:
        for module, training in saved:
            module.training = training

    return restore


def muted(modules: list[nn.Module]) -> Restore:
    """Let ``log`` and ``log_dict`` of LightningModules do nothing until restored."""
    names = ("log", "log_dict")
    loggers = [m for m in modules if all(callable(getattr(type(m), name, None)) for name in names)]
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
