"""Leave no trace: the one way in which this package touches a user's model."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from itertools import chain
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as global_tables

from lightning_xai.model.restore.attributes import attributes, hidden_modules, replace_inference_tensors
from lightning_xai.model.restore.scripted import scripted_attributes
from lightning_xai.model.restore.tensors import (
    Restore,
    Table,
    buffers,
    parameter_tables,
    parameter_values,
    parameters,
    restore_each,
    table_entries,
)

_FORWARD = ("_forward_hooks", "_forward_pre_hooks")
_NAMES = (
    *_FORWARD,
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_LOGGING = frozenset({"wandb", "comet_ml", "neptune", "neptune_pytorch", "clearml", "aim", "swanlab", "trackio"})
_HARMLESS = frozenset(
    {"torch", "torchvision", "torchao", "torchmetrics", "lightning", "pytorch_lightning", "lightning_fabric"}
    | {"lightning_xai", "timm", "transformers", "accelerate", "peft", "deepspeed", "captum", "zennit"}
)
_warned: WeakSet[nn.Module] = WeakSet()
_entered: ContextVar[tuple[frozenset[int], ...]] = ContextVar("entered", default=())


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Run the body in eval mode with gradients enabled, and leave ``model`` and the process as they were.

    Restored, also when the body raises: train/eval per submodule, ``requires_grad`` and ``.grad`` of each parameter,
    buffers (values and identity), children, hooks, what `forward` keeps in Python attributes (counters, tensors, lists,
    dicts, meters, generators), attributes of scripted modules, the random states of torch (CPU and CUDA), numpy and
    python. Of the values of parameters, those that a `forward` wrote when the model first ran in here. Each is put back
    whatever happens to the others; then the first error is raised.

    Inside, inference mode is left, compiled models run eagerly, ``log``/``log_dict`` of LightningModules do nothing,
    and neither hooks of known loggers (`wandb.watch`) nor hooks on gradients run. Tensors that an earlier
    inference-mode pass cached on the model are replaced by normal copies, because autograd (and later training) cannot
    use them.
    Nested entries for the same model are free.

    Not put back: what `forward` or a hook writes outside of the model (globals, class attributes, a closure's counter,
    an iterator's place), parameters that it writes only later, attributes of a model that FSDP shards.

    Args:
        model: Any module; what the body itself writes to its parameters is the caller's responsibility.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(2, 1).train()
        >>> with preserved(net):
        ...     net.training
        False
        >>> net.training
        True
    """
    with torch.inference_mode(False), torch.enable_grad():
        if is_preserved(model):
            yield
            return
        modules = list(model.modules())
        token = _entered.set((*_entered.get(), frozenset(map(id, modules))))
        try:
            with _eager(), _put_back_after(modules):
                yield
        finally:
            _entered.reset(token)


def is_preserved(model: nn.Module) -> bool:
    """Return whether `preserved` is entered for a model, or one that holds it: what calls it now is no user's code."""
    return any(id(model) in known for known in _entered.get())


@contextmanager
def _put_back_after(modules: list[nn.Module]) -> Iterator[None]:
    pieces: list[Restore] = []
    try:
        pieces.append(random_states())
        replace_inference_tensors(modules)
        for note in _NOTED:
            pieces.append(note(modules))
        if any(isinstance(module, torch.jit.ScriptModule) for module in modules):
            pieces.append(scripted_attributes(modules))
        yield
    except BaseException:
        try:
            restore_each(reversed(pieces))
        except Exception as error:  # the body's own is the first and goes on
            warnings.warn(f"After an error not all of the model could be put back: {error}", stacklevel=2)
        raise
    restore_each(reversed(pieces))


def _eager() -> AbstractContextManager[object]:
    """Let compiled models run eagerly; nothing can be compiled before `torch._dynamo` is imported, which is slow."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


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


def _modes(modules: list[nn.Module]) -> Restore:
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


def _muted(modules: list[nn.Module]) -> Restore:
    """Let ``log`` and ``log_dict`` of LightningModules do nothing until restored."""
    names = ("log", "log_dict")
    logging = {kind for kind in set(map(type, modules)) if all(callable(getattr(kind, name, None)) for name in names)}
    loggers = [module for module in modules if type(module) in logging]
    saved = [(m.__dict__, {name: m.__dict__[name] for name in names if name in m.__dict__}) for m in loggers]
    for own, _ in saved:
        own.update(dict.fromkeys(names, _silent))

    def restore() -> None:
        for own, values in saved:
            for name in names:
                own.pop(name, None)
            own.update(values)

    return restore


def _silent(*_: object, **__: object) -> None:
    """Stand in for `LightningModule.log` while a model is explained."""


def _hooks(modules: list[nn.Module]) -> Restore:
    """Note the hooks of each module, and those of all modules; those of known loggers (`wandb.watch`) do not run.

    Of a hook of the user's own, which may count or collect outside the model, a warning tells once per model.
    """
    of_all = [getattr(global_tables, name) for name in ("_global_forward_hooks", "_global_forward_pre_hooks")]
    tables = [
        *of_all,
        *(table for module in modules for name in _NAMES if (table := module.__dict__.get(name)) is not None),
    ]
    used = [table for table in tables if table]
    if used and modules[0] not in _warned:
        _warn_of_foreign(modules, of_all)
    restore = table_entries(tables)
    for table in used:
        for key in [key for key, hook in table.items() if _package(hook) in _LOGGING]:
            del table[key]
    return restore


def _warn_of_foreign(modules: list[nn.Module], of_all: list[Table]) -> None:
    ours = frozenset(map(id, modules))  # whose methods write to what is put back
    for hook, where in _forward_hooks(modules[0], of_all):
        if _package(hook) not in _HARMLESS | _LOGGING and id(getattr(hook, "__self__", None)) not in ours:
            _warned.add(modules[0])
            warnings.warn(
                f"The forward hook `{_name(hook)}` on {where} also runs while the model is explained, and what it "
                "counts or collects outside the model's attributes and buffers cannot be put back afterwards.",
                stacklevel=2,
            )
            return


def _forward_hooks(model: nn.Module, of_all: list[Table]) -> Iterator[tuple[Any, str]]:
    yield from ((hook, "all modules") for hook in chain.from_iterable(table.values() for table in of_all))
    for name, module in model.named_modules():
        where = f"layer '{name}'" if name else f"the {type(model).__name__}"
        for table in _FORWARD:
            yield from ((hook, where) for hook in module.__dict__.get(table, {}).values())


def _package(hook: Any) -> str:
    """Return the package that a hook comes from: that of a function, of a `partial`'s, or of a callable's class."""
    function = getattr(hook, "func", hook)
    module = getattr(function, "__module__", None) or type(function).__module__
    return str(module).partition(".")[0]


def _name(hook: Any) -> str:
    function = getattr(hook, "func", hook)
    return getattr(function, "__qualname__", type(function).__qualname__)


_NOTED = (  # put back in the reverse order
    attributes,
    parameter_tables,
    partial(parameter_values, hidden=hidden_modules),
    parameters,
    buffers,
    _hooks,
    _modes,
    _muted,
)
