"""Leave no trace: the one way in which this package touches a user's model."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_entered: ContextVar[tuple[frozenset[int], ...]] = ContextVar("entered", default=())

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


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
            stack.callback(_random_states())
            _heal(modules)
            for keep in (_parameters, _buffers, _hooks, _metric_states, _modes, _muted):
                stack.callback(keep(modules))
        yield


def _random_states() -> Callable[[], None]:
    cpu, python, arrays = torch.get_rng_state(), random.getstate(), np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None

    def restore() -> None:
        torch.set_rng_state(cpu)
        random.setstate(python)
        np.random.set_state(arrays)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return restore


def _heal(modules: list[nn.Module]) -> None:
    for module in modules:
        for table in (module._buffers, module.__dict__, *_dicts(module)):
            for name, value in list(table.items()):
                if isinstance(value, Tensor) and value.is_inference():
                    table[name] = value.clone()


def _dicts(module: nn.Module) -> list[dict[Any, Any]]:
    own = ("_buffers", "_parameters", "_modules", *_HOOKS)
    return [value for name, value in module.__dict__.items() if isinstance(value, dict) and name not in own]


def _parameters(modules: list[nn.Module]) -> Callable[[], None]:
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


def _buffers(modules: list[nn.Module]) -> Callable[[], None]:
    saved = [
        (
            module._buffers,
            dict(module._buffers),
            {k: (b._version, b.clone()) for k, b in module._buffers.items() if b is not None},
        )
        for module in modules
        if module._buffers
    ]

    def restore() -> None:
        with torch.no_grad():
            for table, originals, values in saved:
                table.clear()
                table.update(originals)
                for name, (version, value) in values.items():
                    buffer = originals[name]
                    if buffer is not None and buffer._version != version:
                        buffer.copy_(value)

    return restore


def _hooks(modules: list[nn.Module]) -> Callable[[], None]:
    saved = [
        (table, dict(table))
        for module in modules
        for name in _HOOKS
        if (table := module.__dict__.get(name)) is not None
    ]

    def restore() -> None:
        for table, hooks in saved:
            if dict(table) != hooks:
                table.clear()
                table.update(hooks)

    return restore


def _metric_states(modules: list[nn.Module]) -> Callable[[], None]:
    """Keep each torchmetrics.Metric, recognised by its ``_defaults``, attribute by attribute."""
    saved = [(m.__dict__, {k: _copied(v) for k, v in m.__dict__.items()}) for m in modules if _is_metric(m)]

    def restore() -> None:
        for attributes, values in saved:
            attributes.clear()
            attributes.update(values)

    return restore


def _is_metric(module: nn.Module) -> bool:
    return hasattr(module, "_defaults") and hasattr(module, "add_state")


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return list(value) if type(value) is list else value


def _modes(modules: list[nn.Module]) -> Callable[[], None]:
    saved = [(module, module.training) for module in modules]
    for module in modules:
        module.training = False

    def restore() -> None:
        for module, training in saved:
            module.training = training

    return restore


def _muted(modules: list[nn.Module]) -> Callable[[], None]:
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
