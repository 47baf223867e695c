"""New parameters for one layer, the way the layer itself would draw them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_RESETS = ("reset_parameters", "_reset_parameters", "reset_running_stats")
_FLAT = 1e-6
_FROZEN_NORM = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0, "weight": 1.0, "bias": 0.0}


def redraw(layer: nn.Module) -> None:
    """Draw the layer's own parameters anew in place, and reset its statistics, with the CPU's global generator.

    What is below the layer is left alone, also by a ``reset_parameters`` that would reset it.
    """
    reset = _reset_of(layer)
    drawn: dict[str, Tensor] = {}
    if reset is not None:
        with _StandIns(layer) as stand_ins:
            reset()
            drawn = stand_ins.changed()
    for name, parameter in layer.named_parameters(recurse=False, remove_duplicate=False):
        parameter.data.copy_(drawn[name] if name in drawn else _noise_like(parameter))
    frozen = reset is None and has_statistics(layer)
    for name, buffer in layer.named_buffers(recurse=False, remove_duplicate=False):
        if name in drawn:
            buffer.data.copy_(drawn[name])
        elif frozen and name in _FROZEN_NORM:
            buffer.data.fill_(_FROZEN_NORM[name])


def has_statistics(layer: nn.Module) -> bool:
    """Return whether ``layer`` normalises by running statistics of its own."""
    return any(name == "running_mean" for name, _ in layer.named_buffers(recurse=False))


def _reset_of(layer: nn.Module) -> Callable[[], object] | None:
    """Return what redraws ``layer``, if it can be called without arguments."""
    for name in _RESETS:
        reset: Callable[[], object] | None = getattr(layer, name, None)
        if callable(reset):
            parameters = inspect.signature(reset).parameters.values()
            if all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
                return reset
    return None


def _noise_like(parameter: Tensor) -> Tensor:
    """Return N(0, std of ``parameter``), drawn on the CPU; integers as they are."""
    values = parameter.detach().cpu()
    if not values.is_floating_point():
        return values
    size = values.double().square().mean().sqrt()
    spread = values.double().std(correction=0)
    if not spread > _FLAT * size:  # a scalar or a constant: 0, but for rounding
        spread = size
    return spread * torch.randn(values.shape, device="cpu")


class _StandIns:
    """Copies on the CPU in place of every tensor of a layer and of what is below it.

    A reset may then assign, write to its children, or draw on its device: the model itself sees nothing of it, and the
    same numbers come on every device.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._originals: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        for module in layer.modules():
            tables: tuple[Any, ...] = (module._parameters, module._buffers, module.__dict__)  # noqa: SLF001
            for table in (t for t in tables if isinstance(t, dict)):  # not so in TorchScript, which has no resets
                self._originals.append((table, {n: value for n, value in table.items() if isinstance(value, Tensor)}))
        self._before: dict[str, tuple[Tensor, int]] = {}

    def __enter__(self) -> _StandIns:
        copies: dict[int, Tensor] = {}
        for table, originals in self._originals:
            for name, tensor in originals.items():
                table[name] = copies.setdefault(id(tensor), _copy(tensor))
        self._before = {name: (tensor.clone(), tensor._version) for name, tensor in self._own().items()}  # noqa: SLF001
        return self

    def __exit__(self, *_: object) -> None:
        for table, originals in self._originals:
            table.update(originals)

    def changed(self) -> dict[str, Tensor]:
        """Return the layer's own tensors that were written or replaced since, by name, also by equal values."""
        found = {}
        for name, tensor in self._own().items():
            if name in self._before and tensor.shape == self._before[name][0].shape:
                value, version = self._before[name]
                if tensor._version != version or not torch.equal(tensor, value):  # noqa: SLF001
                    found[name] = tensor.detach()
        return found

    def _own(self) -> dict[str, Tensor]:
        parameters = self._layer.named_parameters(recurse=False, remove_duplicate=False)
        return {**dict(parameters), **dict(self._layer.named_buffers(recurse=False, remove_duplicate=False))}


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(copy, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
