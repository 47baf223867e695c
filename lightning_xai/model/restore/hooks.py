"""Hooks of a user's model: which there are, who logs, and whose state cannot be put back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any
from weakref import WeakSet

from torch import nn
from torch.nn.modules import module as global_tables

from lightning_xai.model.restore.piece import Restore
from lightning_xai.model.restore.tables import Table, table_entries

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


def hooks(modules: list[nn.Module]) -> Restore:
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
