"""Values of tensors: copied, compared and written back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xai.model.restore.piece import restore_each

_SMALL = 2**16


class TensorValues:
    """The values of tensors, also of such that are resized in place.

    Args:
        tensors: Each once.
        device: Where the copies are kept; where the tensors are if None.
    """

    def __init__(self, tensors: Sequence[Tensor], device: str | None = None) -> None:
        self._groups = [_Group(group, device) for group in _together(tensors)]

    def restore(self) -> None:
        """Write back what changed; what stayed equal is not written, which would be a change for autograd."""
        restore_each(group.restore for group in self._groups)

    def changed(self) -> list[Tensor]:
        """Return the tensors that are not equal to their copies."""
        return [tensor for group in self._groups for tensor, _ in group.changed()]


def _together(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return small plain tensors by type and device, and each other one (large, sparse, of a subclass) by itself."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        plain = type(tensor) in {Tensor, nn.Parameter} and tensor.layout is torch.strided and not tensor.is_quantized
        joined = plain and tensor.numel() <= _SMALL
        groups.setdefault((tensor.dtype, tensor.device) if joined else id(tensor), []).append(tensor)
    return list(groups.values())


class _Group:
    """Copies of tensors of one type on one device, made and compared by one operation for all of them.

    One by one, the statistics of a ResNet-50 cost 159 copies and, on CUDA, as many waits for the answer.
    """

    def __init__(self, tensors: list[Tensor], device: str | None) -> None:
        self._tensors, self._device = tensors, device
        self._shapes = [tensor.shape for tensor in tensors]
        whole = tensors[0].detach() if len(tensors) == 1 else _in_a_row(tensors)
        self._copy = whole.to(device or whole.device, copy=len(tensors) == 1)

    def restore(self) -> None:
        restore_each(partial(_write_back, tensor, value) for tensor, value in self.changed())

    def changed(self) -> list[tuple[Tensor, Tensor]]:
        """Return what changed, with its values; a version tells nothing, as BatchNorm writes without raising it."""
        same_shapes = [tensor.shape for tensor in self._tensors] == self._shapes
        if len(self._tensors) > 1 and same_shapes and torch.equal(self._kept(_in_a_row(self._tensors)), self._copy):
            return []
        pairs = zip(self._tensors, self._values(), strict=True)
        # of sparse tensors nothing tells whether they are equal
        return [(t, v) for t, v in pairs if t.layout is not torch.strided or not torch.equal(self._kept(t.detach()), v)]

    def _kept(self, tensor: Tensor) -> Tensor:
        return tensor if self._device is None else tensor.to(self._device)

    def _values(self) -> list[Tensor]:
        if len(self._tensors) == 1:
            return [self._copy]
        parts = torch.split(self._copy, [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def _write_back(tensor: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        if tensor.shape != value.shape:
            tensor.resize_(value.shape)
        tensor.copy_(value)


def _in_a_row(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
