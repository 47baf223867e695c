"""What a model's forward wants beside the image: one value per image, picked as images are picked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_xai._checks import shape
from lightning_xai._randomness import content_keys, joined_keys

Extra: TypeAlias = Mapping[str, Any]
"""Name of an argument of forward -> a value per image: a tensor (N, ...), a list of N, or a mapping of these."""


def checked_extra(extra: Any, count: int | None = None, *, device: torch.device | None = None) -> dict[str, Any]:
    """Return ``extra`` with its arrays as tensors.

    Args:
        extra: See `Extra`.
        count: Number of images; that of the first value if None.
        device: Where tensors go; they stay where they are if None.

    Raises:
        TypeError: If it is no mapping of names, or a value holds nothing per image.
        ValueError: If a value does not hold one row per image.
    """
    if not isinstance(extra, Mapping) or not all(isinstance(name, str) for name in extra):
        raise TypeError(
            "Expected `extra` to map names of forward's arguments to a value per image, but got "
            f"{type(extra).__name__}."
        )
    values = {name: _as_rows(value, device) for name, value in extra.items()}
    for name, value in values.items():
        found = number_of_rows(value)
        count = found if count is None else count
        if found is None:
            raise TypeError(
                f"Expected `extra[{name!r}]` to hold a value per image, a Tensor with first axis N or a list of N, but "
                f"got {type(value).__name__}."
            )
        if found != count:
            came = shape(value) if isinstance(value, Tensor) else f"{found} values"
            raise ValueError(f"Expected `extra[{name!r}]` to hold one row for each of {count} images, but got {came}.")
    return values


def number_of_rows(value: Any) -> int | None:
    """Return how many images a value is about; None if that cannot be said."""
    if isinstance(value, Mapping):
        counts = {number_of_rows(one) for one in value.values()}
        return counts.pop() if len(counts) == 1 else None
    if isinstance(value, Tensor):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, (list, tuple)) else None


def each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a value with ``change`` made to every tensor in it."""
    if isinstance(value, Mapping):
        return {name: each_tensor(one, change) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [each_tensor(one, change) for one in value]
    return change(value) if isinstance(value, Tensor) else value


def rows_of(value: Any, index: Tensor) -> Any:
    """Return a copy of the rows ``index``, int64 (n,), of a value that holds one per image."""
    if isinstance(value, Mapping):
        return {name: rows_of(one, index) for name, one in value.items()}
    if isinstance(value, Tensor):
        return value[index.to(value.device)]
    return [each_tensor(value[i], Tensor.clone) for i in index.tolist()]


def row_of(value: Any, row: int) -> Any:
    """Return a copy of what a value holds for one image, without its first axis, on the CPU."""
    if isinstance(value, Mapping):
        return {name: row_of(one, row) for name, one in value.items()}
    return each_tensor(value[row], lambda tensor: tensor.detach().cpu().clone())


def from_rows(rows: Sequence[Any]) -> Any:
    """Return the value that holds ``rows``, one per image: tensors of equal size stacked, else a list."""
    if all(isinstance(row, Mapping) for row in rows) and len({frozenset(row) for row in rows}) == 1:
        return {name: from_rows([row[name] for row in rows]) for name in rows[0]}
    if all(isinstance(row, Tensor) for row in rows) and len({(row.shape, row.dtype) for row in rows}) == 1:
        return torch.stack(list(rows))
    return list(rows)


def keys_of(value: Any) -> Tensor:
    """Return a key of what a value holds for each image, int64 (N,): equal rows have equal keys."""
    if isinstance(value, Mapping):
        keys = [keys_of(value[name]) for name in sorted(value)]
        device = next((one.device for one in keys if one.device.type != "cpu"), keys[0].device)
        return reduce(joined_keys, [one.to(device) for one in keys])
    if isinstance(value, Tensor):
        return content_keys(_as_floats(value))
    return torch.tensor([_key_of_row(row) for row in value], dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class RowsOfExtra:
    """Which row of ``values`` each image takes; nothing is copied before a forward asks for it.

    Attributes:
        values: As `checked_extra` returns them.
        index: int64 (n,), on the CPU.
    """

    values: dict[str, Any]
    index: Tensor

    @classmethod
    def of(cls, extra: Extra) -> RowsOfExtra:
        """Return all rows of ``extra``, in order; see `checked_extra`."""
        values = checked_extra(extra)
        count = number_of_rows(next(iter(values.values()))) or 0
        return cls(values, torch.arange(count, device="cpu"))

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: slice | Tensor) -> RowsOfExtra:
        """Return those of some of these images, (m,), in that order."""
        return RowsOfExtra(self.values, self.index[index if isinstance(index, slice) else index.cpu()])

    def gathered(self, device: torch.device) -> dict[str, Any]:
        """Return a copy of the rows, which the model may change, with tensors on ``device``."""
        return {
            name: each_tensor(rows_of(value, self.index), lambda tensor: tensor.to(device))
            for name, value in self.values.items()
        }


def _as_floats(value: Tensor) -> Tensor:
    """Return rows of any type (N, n) in float32, without a loss: whole numbers in three parts of 24 bits."""
    rows = value.reshape(len(value), -1)
    if rows.is_floating_point():
        return rows
    whole = rows.long()
    return torch.cat([(whole >> shift) & 0xFFFFFF for shift in (0, 24, 48)], 1).float()


def _key_of_row(row: Any) -> int:
    if isinstance(row, (Tensor, Mapping)):
        return int(keys_of({name: [one] for name, one in row.items()} if isinstance(row, Mapping) else row[None]))
    if isinstance(row, (list, tuple)):
        return int(reduce(joined_keys, [torch.tensor([_key_of_row(one)]) for one in row], torch.tensor([len(row)])))
    return int.from_bytes(sha256(repr(row).encode()).digest()[:7], "little")


def _as_rows(value: Any, device: torch.device | None) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_rows(one, device) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(one, (int, float)) for one in value):
            return torch.as_tensor(value, device=device)
        return [each_tensor(one, lambda tensor: tensor.detach().as_subclass(Tensor).to(device)) for one in value]
    if isinstance(value, Tensor) or hasattr(value, "__array__"):
        return torch.as_tensor(value, device=device).detach().as_subclass(Tensor)
    return value
