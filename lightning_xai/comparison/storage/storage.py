"""Where a comparison keeps what it has found, and the simplest such place: memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from lightning_xai.comparison.results import CellHeatmaps, CellValues


class Storage(Protocol):
    """Keeps results by the fingerprint of what decided them."""

    def begin(self) -> None:
        """Begin a run: what failed before is tried again."""

    def heatmaps(self, key: str) -> CellHeatmaps | None:
        """Return the heatmaps of a cell, None if there are none yet."""

    def about_heatmaps(self, key: str) -> CellHeatmaps | None:
        """Return what is known of the heatmaps of a cell, without them."""

    def keep_heatmaps(self, key: str, found: CellHeatmaps) -> None:
        """Keep the heatmaps of a cell."""

    def has_values(self, key: str) -> bool:
        """Return whether there are values."""

    def keys_of_values(self) -> frozenset[str]:
        """Return the keys of all values that there are."""

    def values(self, key: str) -> CellValues | None:
        """Return the values of a metric in a cell, None if there are none yet."""

    def keep_values(self, key: str, found: CellValues, names: Mapping[str, str]) -> None:
        """Keep the values of a metric in a cell, with the names of its place in the table."""

    def failure(self, key: str) -> str | None:
        """Return why there are no values; None if it was not tried since the run began."""

    def keep_failure(self, key: str, reason: str) -> None:
        """Keep why there are no values."""

    def images(self, key: str) -> Tensor | None:
        """Return images that were changed against a model, None if there are none yet."""

    def keep_images(self, key: str, found: Tensor) -> None:
        """Keep images that were changed against a model."""

    def claimed(self, key: str) -> AbstractContextManager[bool]:
        """Yield whether no other process does the same work."""

    def parts(self, key: str) -> Storage:
        """Return where the parts of a cell are kept until it is whole."""

    def discard_parts(self, key: str) -> None:
        """Forget the parts of a cell, if there are any."""


class MemoryStorage:
    """Keeps results as long as the comparison lives."""

    def __init__(self) -> None:
        self._heatmaps: dict[str, CellHeatmaps] = {}
        self._values: dict[str, CellValues] = {}
        self._failures: dict[str, str] = {}
        self._parts: dict[str, MemoryStorage] = {}

    def begin(self) -> None:
        """See `Storage`."""
        self._failures.clear()

    def heatmaps(self, key: str) -> CellHeatmaps | None:
        """See `Storage`."""
        return self._heatmaps.get(key)

    def about_heatmaps(self, key: str) -> CellHeatmaps | None:
        """See `Storage`."""
        found = self._heatmaps.get(key)
        return None if found is None else replace(found, heatmaps=[])

    def keep_heatmaps(self, key: str, found: CellHeatmaps) -> None:
        """See `Storage`."""
        self._heatmaps[key] = found

    def has_values(self, key: str) -> bool:
        """See `Storage`."""
        return key in self._values

    def keys_of_values(self) -> frozenset[str]:
        """See `Storage`."""
        return frozenset(self._values)

    def values(self, key: str) -> CellValues | None:
        """See `Storage`."""
        return self._values.get(key)

    def keep_values(self, key: str, found: CellValues, names: Mapping[str, str]) -> None:  # noqa: ARG002
        """See `Storage`."""
        self._values[key] = found

    def failure(self, key: str) -> str | None:
        """See `Storage`."""
        return self._failures.get(key)

    def keep_failure(self, key: str, reason: str) -> None:
        """See `Storage`."""
        self._failures[key] = reason

    def images(self, key: str) -> Tensor | None:  # noqa: ARG002
        """Return None: who changed them has them as long as the model is there."""
        return None

    def keep_images(self, key: str, found: Tensor) -> None:
        """See `images`."""

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:  # noqa: ARG002
        """See `Storage`."""
        yield True

    def parts(self, key: str) -> MemoryStorage:
        """See `Storage`."""
        return self._parts.setdefault(key, MemoryStorage())

    def discard_parts(self, key: str) -> None:
        """See `Storage`."""
        self._parts.pop(key, None)
