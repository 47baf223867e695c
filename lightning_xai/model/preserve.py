"""Leave no trace: the one way in which this package touches a user's model."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import nn

from lightning_xai.model.restore.attributes import attributes
from lightning_xai.model.restore.buffers import buffers
from lightning_xai.model.restore.hooks import hooks
from lightning_xai.model.restore.inference_tensors import replace_inference_tensors
from lightning_xai.model.restore.modes import modes, muted
from lightning_xai.model.restore.parameters import parameter_tables, parameter_values, parameters
from lightning_xai.model.restore.piece import Restore, restore_each
from lightning_xai.model.restore.random_states import random_states
from lightning_xai.model.restore.scripted import scripted_attributes

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
        if any(id(model) in known for known in _entered.get()):
            yield
            return
        modules = list(model.modules())
        token = _entered.set((*_entered.get(), frozenset(map(id, modules))))
        try:
            with _eager(), _put_back_after(modules):
                yield
        finally:
            _entered.reset(token)


_NOTED = (  # put back in the reverse order
    attributes,
    scripted_attributes,
    parameter_tables,
    parameter_values,
    parameters,
    buffers,
    hooks,
    modes,
    muted,
)


@contextmanager
def _put_back_after(modules: list[nn.Module]) -> Iterator[None]:
    pieces: list[Restore] = []
    try:
        pieces.append(random_states())
        replace_inference_tensors(modules)
        for note in _NOTED:
            pieces.append(note(modules))
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
