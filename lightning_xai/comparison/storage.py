"""Where a comparison keeps what it has found: in memory, or in a folder from which a run goes on."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from lightning_xai.comparison.lease import SECONDS, Leases
from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.tidy import check_pyarrow, values_from_parquet, values_to_parquet
from lightning_xai.loggers.files import write_file


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

    def values(self, key: str) -> CellValues | None:
        """Return the values of a metric in a cell, None if there are none yet."""

    def keep_values(self, key: str, found: CellValues, names: Mapping[str, str]) -> None:
        """Keep the values of a metric in a cell, with the names of its place in the table."""

    def failure(self, key: str) -> str | None:
        """Return why there are no values; None if it was not tried since the run began."""

    def keep_failure(self, key: str, reason: str) -> None:
        """Keep why there are no values."""

    def claimed(self, key: str) -> AbstractContextManager[bool]:
        """Yield whether no other process does the same work."""


class MemoryStorage:
    """Keeps results as long as the comparison lives."""

    def __init__(self) -> None:
        self._heatmaps: dict[str, CellHeatmaps] = {}
        self._values: dict[str, CellValues] = {}
        self._failures: dict[str, str] = {}

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

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:  # noqa: ARG002
        """See `Storage`."""
        yield True


class FolderStorage:
    """Keeps results in a folder, which several processes and machines may share.

    ``values/*.parquet``: a row for each image and number, of one metric in one cell; all of them together are one table
    to pandas, polars and DuckDB. ``heatmaps/*.pt``: the heatmaps of one cell. ``failures/*.json``: what went wrong.
    ``claims/*.json``: who works on what. Every file is written beside its place and renamed, so that a reader never
    sees half of one, and named by the fingerprint of all that decided it, so that none has to be replaced.

    Args:
        folder: A local path, or one that all machines see.
        lease: Seconds after which the work of a process that died is taken over.

    Raises:
        ValueError: If the folder is a URL.
        ModuleNotFoundError: If pyarrow is not installed.
    """

    def __init__(self, folder: str | Path, lease: float = SECONDS) -> None:
        if "://" in str(folder):
            raise ValueError(f"Expected `output` to be a local or mounted folder, but got {str(folder)!r}.")
        check_pyarrow()
        self._folder = Path(folder).absolute()
        self._leases = Leases(self._folder / "claims", lease)
        self._began = time.time()

    def begin(self) -> None:
        """See `Storage`."""
        self._began = time.time()

    def heatmaps(self, key: str) -> CellHeatmaps | None:
        """See `Storage`."""
        path = self._path("heatmaps", key, "pt")
        if not path.is_file():
            return None
        found = torch.load(path, weights_only=True, mmap=True)  # a batch is read when it is used
        return CellHeatmaps(**{**found, "picked": tuple(found["picked"])})

    def about_heatmaps(self, key: str) -> CellHeatmaps | None:
        """See `Storage`; the heatmaps are not read."""
        path = self._path("heatmaps", key, "pt")
        if not path.is_file():
            return None
        found = torch.load(path, weights_only=True, mmap=True)
        signature = found["signature"].clone()
        return CellHeatmaps([], signature, found["evaluations"], found["seconds"], tuple(found["picked"]))

    def keep_heatmaps(self, key: str, found: CellHeatmaps) -> None:
        """See `Storage`."""
        buffer = io.BytesIO()
        torch.save({**vars(found), "picked": list(found.picked)}, buffer)
        write_file(self._path("heatmaps", key, "pt"), buffer.getvalue())

    def has_values(self, key: str) -> bool:
        """See `Storage`."""
        return self._path("values", key, "parquet").is_file()

    def values(self, key: str) -> CellValues | None:
        """See `Storage`."""
        content = _content(self._path("values", key, "parquet"))
        return None if content is None else values_from_parquet(content)

    def keep_values(self, key: str, found: CellValues, names: Mapping[str, str]) -> None:
        """See `Storage`."""
        write_file(self._path("values", key, "parquet"), values_to_parquet(found, names))

    def failure(self, key: str) -> str | None:
        """See `Storage`; what failed in an earlier run is tried again."""
        content = _content(self._path("failures", key, "json"))
        failed = {} if content is None else json.loads(content)
        return str(failed["reason"]) if failed.get("time", 0.0) >= self._began else None

    def keep_failure(self, key: str, reason: str) -> None:
        """See `Storage`."""
        content = json.dumps({"reason": reason, "time": time.time()})
        write_file(self._path("failures", key, "json"), content.encode())

    def claimed(self, key: str) -> AbstractContextManager[bool]:
        """See `Storage`."""
        return self._leases.claimed(key)

    def _path(self, kind: str, key: str, ending: str) -> Path:
        return self._folder / kind / f"{key}.{ending}"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
