"""Leave no trace: the one way in which this package touches a user's model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import torch
from torch import nn

from lightning_xai.model import restore

_entered: ContextVar[tuple[frozenset[int], ...]] = ContextVar("entered", default=())
_KEPT = (
    restore.parameters,
    restore.buffers,
    restore.hooks,
    restore.metric_states,
    restore.modes,
    restore.muted,
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
            stack.callback(restore.random_states())
            restore.heal(modules)
            for keep in _KEPT:
                stack.callback(keep(modules))
        yield
