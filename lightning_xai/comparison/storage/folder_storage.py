"""A folder that keeps what a comparison has found, from which a run goes on, and which several processes share."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_xai.comparison.results import CellHeatmaps, CellValues
from lightning_xai.comparison.storage.lease import SECONDS, Leases
from lightning_xai.comparison.storage.tidy import check_pyarrow, values_from_parquet, values_to_parquet
from lightning_xai.loggers.files import write_file


class FolderStorage:
    """Keeps results in a folder, which several processes and machines may share.

    ``values/*.parquet``: a row for each image and number, of one metric in one cell; all of them together are one table
    to pandas, polars and DuckDB. ``heatmaps/*.pt``: the heatmaps of one cell. ``images/*.pt``: a batch of images that
    were changed against a model. ``failures/*.json``: what went wrong. ``claims/*.json``: who works on what.
    ``parts/<cell>/``: heatmaps and values of some images of a cell, until it is whole. Every file is written beside its
    place and renamed, so that a reader never sees half of one, and named by the fingerprint of all that decided it, so
    that none has to be replaced.

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
        """See `Storage`; each batch is read when it is used."""
        found = self._mapped(key)
        return None if found is None else CellHeatmaps(**{**found, "picked": tuple(found["picked"])})

    def about_heatmaps(self, key: str) -> CellHeatmaps | None:
        """See `Storage`; the heatmaps are not read."""
        found = self._mapped(key)
        if found is None:
            return None
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

    def keys_of_values(self) -> frozenset[str]:
        """See `Storage`; one listing of a folder, which many files cost less than a question about each."""
        try:
            names = os.listdir(self._folder / "values")
        except FileNotFoundError:
            return frozenset()
        return frozenset(name.removesuffix(".parquet") for name in names)

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

    def images(self, key: str) -> Tensor | None:
        """See `Storage`."""
        content = _content(self._path("images", key, "pt"))
        found: Tensor | None = None if content is None else torch.load(io.BytesIO(content), weights_only=True)
        return found

    def keep_images(self, key: str, found: Tensor) -> None:
        """See `Storage`."""
        buffer = io.BytesIO()
        torch.save(found.clone(), buffer)
        write_file(self._path("images", key, "pt"), buffer.getvalue())

    def claimed(self, key: str) -> AbstractContextManager[bool]:
        """See `Storage`."""
        return self._leases.claimed(key)

    def parts(self, key: str) -> FolderStorage:
        """See `Storage`."""
        inner = copy.copy(self)
        vars(inner).update(_folder=self._folder / "parts" / key)
        return inner

    def discard_parts(self, key: str) -> None:
        """See `Storage`; another process may do the same."""
        shutil.rmtree(self._folder / "parts" / key, ignore_errors=True)

    def _mapped(self, key: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = torch.load(self._path("heatmaps", key, "pt"), weights_only=True, mmap=True)
        except FileNotFoundError:
            return None
        return found

    def _path(self, kind: str, key: str, ending: str) -> Path:
        return self._folder / kind / f"{key}.{ending}"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
