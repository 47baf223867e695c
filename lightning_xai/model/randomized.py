"""A model whose parameters are drawn anew, group by group of layers, and put back bit for bit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_xai._checks import check_choice, check_count
from lightning_xai.model import restore
from lightning_xai.model.module import unwrapped
from lightning_xai.model.preserved import preserved
from lightning_xai.model.redraw import has_statistics, redraw

Order: TypeAlias = Literal["top_down", "bottom_up", "independent"]
ORDERS = ("top_down", "bottom_up", "independent")

_Originals: TypeAlias = list[tuple[Tensor, Tensor]]
_Layer: TypeAlias = tuple[int, nn.Module]


@contextmanager
def randomized(
    model: nn.Module, order: Order = "top_down", num_steps: int = 8, seed: int = 0
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
        put_back_random_states = restore.random_states()
        try:
            _put_back(originals)
            for place, layer in group:
                torch.default_generator.manual_seed(zlib.crc32(f"{seed}, layer {place}".encode()))
                with torch.no_grad():
                    redraw(layer)
        finally:
            put_back_random_states()
        yield step


def _put_back(originals: _Originals) -> None:
    for tensor, value in originals:
        tensor.data.copy_(value)  # of `.data`: a graph that the user keeps must not take this for a change
