"""What a study computes beside its comparisons: a function of its networks, kept like everything else."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch

from lightning_xai.comparison.models import imported
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.storage.fingerprint import fingerprint
from lightning_xai.comparison.storage.lease import Leases
from lightning_xai.loggers.files import write_file
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.part import Part
from lightning_xai.studies.training.recipe import Recipe
from lightning_xai.studies.training.trained_networks import TrainedNetworks

_POLL = 0.5


@dataclass(frozen=True)
class AnalysisContext:
    """What an analysis has at hand.

    Attributes:
        networks: Trains and keeps networks.
        recipes: Those of the study, by name.
        parts: Its comparisons, by name, for their images and networks.
        findings: What the comparisons found.
        device: Where models run.
    """

    networks: TrainedNetworks
    recipes: Mapping[str, Recipe]
    parts: Mapping[str, Part]
    findings: Findings
    device: torch.device | None = None


AnalysisFunction: TypeAlias = Callable[..., Records]


@dataclass(frozen=True)
class Analysis:
    """Numbers that are no comparison, such as a curve, or heat before and after an attack.

    Attributes:
        name: By which claims and figures know it.
        function: Path of a function ``(context, **arguments) -> Records``.
        arguments: Plain values.
        title: What stands above its table; none is shown if empty.
    """

    name: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    def run(self, context: AnalysisContext, folder: Path, leases: Leases) -> Records:
        """Return its records: kept ones, or computed by this process or another one."""
        path = folder / f"{self._key(context)}.json"
        while not path.is_file():
            with leases.claimed(path.stem) as is_ours:
                if is_ours and not path.is_file():
                    found = imported(self.function)(context, **self.arguments)
                    write_file(path, _content(found))
                    return _read(_content(found))
            time.sleep(0 if path.is_file() else _POLL)
        return _read(path.read_bytes())

    def _key(self, context: AnalysisContext) -> str:
        function = imported(self.function)
        code = inspect.getsource(inspect.getmodule(function) or function)
        recipes = {name: one.key for name, one in context.recipes.items()}
        parts = {name: repr(one) for name, one in context.parts.items()}
        return fingerprint("analysis", self.function, code, dict(self.arguments), recipes, parts)


def _content(records: Records) -> bytes:
    plain = {"columns": records.columns, "rows": records.rows, "title": records.title, "notes": records.notes}
    return json.dumps(plain).encode()


def _read(content: bytes) -> Records:
    found = json.loads(content)
    rows = tuple(tuple(row) for row in found["rows"])
    return Records(tuple(found["columns"]), rows, found["title"], tuple(found["notes"]))
