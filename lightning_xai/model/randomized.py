"""A model whose parameters are drawn anew, group by group of layers, and put back bit for bit."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_choice, check_count
from lightning_xai.model.preserve import preserved, random_states
from lightning_xai.model.readout import unwrapped

RandomizationOrder: TypeAlias = Literal["top_down", "bottom_up", "independent"]
ORDERS = ("top_down", "bottom_up", "independent")

_Originals: TypeAlias = list[tuple[Tensor, Tensor]]
_Layer: TypeAlias = tuple[int, nn.Module]


@contextmanager
def randomized(
    model: nn.Module, order: RandomizationOrder = "top_down", num_steps: int = 8, seed: int = 0
) -> Iterator[Iterator[int]]:
    """Give steps through which the parameters of ``model`` are drawn anew; at the end everything is put back.

    Layers, the modules that hold parameters of their own, are taken in the order in which the model registers them and
    cut into at most ``num_steps`` equal groups. A layer is redrawn by its ``reset_parameters``, else by its
    ``_reset_parameters``; parameters that these leave alone, and those of layers that have neither, become
    N(0, their own std) (root mean square where that is 0). Statistics of normalisation layers are reset. Frozen
    parameters are redrawn too, a shared one with every group that holds it. Each layer has its own seed, so the fully
    redrawn model does not depend on order and number of steps, nor on the device.

    Parameters and buffers are put back bit for bit, also after an error; the global random states are left alone.

    Args:
        model: Any module; the one inside DistributedDataParallel is taken.
        order: ``"top_down"``, from the output on, each step on top of the last; ``"bottom_up"`` from the input on;
            ``"independent"``, each group alone.
        num_steps: Most groups.
        seed: Of the new parameters.

    Yields:
        An iterator over 0, 1, ...: the model is redrawn as it advances.

    Raises:
        ValueError: If a setting is out of range, or the model has no parameters.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> first = net[0].weight.clone()
        >>> with randomized(net) as steps:
        ...     [torch.equal(net[0].weight, first) for _ in steps]
        [True, False]
        >>> torch.equal(net[0].weight, first)
        True
    """
    check_choice(order, ORDERS, "order")
    model = unwrapped(model)
    groups = layer_groups(model, num_steps)
    if order == "top_down":
        groups.reverse()
    with preserved(model):
        originals = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers()) if not t.is_meta]
        try:
            yield _steps(groups, originals if order == "independent" else [], seed)
        finally:
            _put_back(originals)


def layer_groups(model: nn.Module, num_steps: int = 8) -> list[list[_Layer]]:
    """Return the layers of ``model``, numbered in the order of registration, in at most ``num_steps`` equal groups.

    Raises:
        ValueError: If ``num_steps`` is below 1, or the model has no parameters.
    """
    check_count(num_steps, "num_steps")
    holding = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None or has_statistics(m)]
    layers = list(enumerate(holding))
    if not layers:
        raise ValueError(f"Expected `model` to have parameters to redraw, but {type(model).__name__} has none.")
    count = min(num_steps, len(layers))
    edges = [len(layers) * k // count for k in range(count + 1)]
    return [layers[start:stop] for start, stop in pairwise(edges)]


def _steps(groups: list[list[_Layer]], originals: _Originals, seed: int) -> Iterator[int]:
    for step, group in enumerate(groups):
        put_back_random_states = random_states()
        try:
            _put_back(originals)
            _redraw_all(group, seed)
        finally:
            put_back_random_states()
        yield step


@torch.no_grad()
def _redraw_all(group: list[_Layer], seed: int) -> None:
    for place, layer in group:
        torch.default_generator.manual_seed(zlib.crc32(f"{seed}, layer {place}".encode()))
        redraw(layer)


def _put_back(originals: _Originals) -> None:
    for tensor, value in originals:
        tensor.data.copy_(value)  # of `.data`: a graph that the user keeps must not take this for a change


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
        with _CpuCopies(layer) as copies:
            reset()
            drawn = copies.changed()
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


class _CpuCopies:
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

    def __enter__(self) -> _CpuCopies:
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
        changed = {}
        for name, tensor in self._own().items():
            if name in self._before and tensor.shape == self._before[name][0].shape:
                value, version = self._before[name]
                if tensor._version != version or not torch.equal(tensor, value):  # noqa: SLF001
                    changed[name] = tensor.detach()
        return changed

    def _own(self) -> dict[str, Tensor]:
        parameters = self._layer.named_parameters(recurse=False, remove_duplicate=False)
        return {**dict(parameters), **dict(self._layer.named_buffers(recurse=False, remove_duplicate=False))}


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(copy, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
