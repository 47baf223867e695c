"""The rescale rule: slopes between a baseline and an image in place of derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xai.explainers.gradient.operations import ELEMENTWISE, MAX_POOLS
from lightning_xai.model.backward.operation_rules import OperationCall, Rule, sent_back

_EQUAL = 1e-6

_Pull: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _BaselineCall:
    """One call in the baseline's pass."""

    name: str
    entering: Tensor
    leaving: Tensor


@dataclass
class Rescale:
    """Meet the same calls twice: note them for the baseline, then compare the images' with them.

    Attributes:
        in_full_precision: Whether all of them computed in float32 or float64.
    """

    in_full_precision: bool = True
    _baseline_calls: list[_BaselineCall] = field(default_factory=list)
    _remaining: Iterator[_BaselineCall] = field(default_factory=lambda: iter(()))

    @property
    def of_baseline(self) -> dict[str, Rule]:
        """Rules for the pass of one baseline image."""
        self._baseline_calls.clear()
        return dict.fromkeys(ELEMENTWISE | MAX_POOLS, self._note)

    @property
    def of_images(self) -> dict[str, Rule]:
        """Rules for the pass of the images, which comes next."""
        self._remaining = iter(self._baseline_calls)
        return dict.fromkeys(ELEMENTWISE | MAX_POOLS, self._compare)

    def _note(self, call: OperationCall) -> Tensor:
        result = call.run(call.source)
        self._baseline_calls.append(_BaselineCall(call.name, call.source.detach().clone(), result.detach().clone()))
        self.in_full_precision &= result.dtype in (torch.float32, torch.float64)
        return result

    def _compare(self, call: OperationCall) -> Tensor:
        before = next(self._remaining, None)
        if before is None or before.name != call.name or before.entering.shape[1:] != call.source.shape[1:]:
            raise ValueError(
                f"Expected the network to take one path through its layers for DeepLIFT, but `{call.name}` differs "
                "between the image and the baseline. Use IntegratedGradients."
            )
        with torch.no_grad():
            result = call.run(call.source)
            rule = _pooled if call.name in MAX_POOLS else _rescaled
            pull = rule(call, result, before)
        return sent_back(call.source, result, pull)


def _rescaled(call: OperationCall, result: Tensor, before: _BaselineCall) -> _Pull:
    """Return the rule of a function of each value: multiply by its slope between baseline and image."""
    change, equal = _difference(call.source, before.entering)
    slope = (_wide(result) - _wide(before.leaving)) / change
    if bool(equal.any()):
        slope = torch.where(equal, _wide(call.derivative()), slope)
    return lambda gradient: (gradient * slope).to(gradient.dtype)


def _pooled(call: OperationCall, result: Tensor, before: _BaselineCall) -> _Pull:
    """Return the rule of max pooling: a rise belongs to the image's maximum, a fall to the baseline's."""
    places, former = _winners(call, call.source), _winners(call, before.entering)
    top = torch.maximum(result, before.leaving)
    rise, fall = top - before.leaving, result - top
    change, equal = _difference(call.source, before.entering)

    def pull(gradient: Tensor) -> Tensor:
        moved = _scattered(gradient * rise, places, change) + _scattered(gradient * fall, former, change)
        return torch.where(equal, _scattered(gradient, places, change), moved / change).to(gradient.dtype)

    return pull


def _difference(now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Return the difference, 1 where there is none to divide by, and where that is."""
    now, before = _wide(now.detach()), _wide(before)
    change = now - before
    equal = change.abs() <= _EQUAL * (now.abs() + before.abs())
    return torch.where(equal, 1.0, change), equal


def _winners(call: OperationCall, source: Tensor) -> Tensor:
    """Return the place of each maximum, counted along the rows of its channel, (n, C, places)."""
    pool = getattr(F, call.name)
    indices: Tensor = pool(source.detach(), *call.arguments, **{**call.keywords, "return_indices": True})[1]
    return indices.flatten(2)


def _scattered(values: Tensor, places: Tensor, like: Tensor) -> Tensor:
    """Return ``values`` added up at their places in a tensor of the shape of ``like``."""
    flat = values.to(like.dtype).flatten(2)
    return torch.zeros_like(like).flatten(2).scatter_add(2, places.expand_as(flat), flat).view_as(like)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
