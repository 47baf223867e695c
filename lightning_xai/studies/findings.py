"""What a study found: the tables of its comparisons, its networks, and what else it computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_xai._checks import check_choice
from lightning_xai.comparison.records import Records
from lightning_xai.comparison.table import ComparisonTable


@dataclass(frozen=True)
class Network:
    """A network of a part, by the name that its rows have.

    Attributes:
        name: In the tidy rows, such as ``conv-e4-s0``.
        group: What it shares with those that differ by the seed of training alone, such as ``conv-e4``.
        seed: Of its training; None if it was not trained here.
        scores: ``accuracy`` and others in [0, 1], on the recipe's test images.
        training: What networks share that one training left after several epochs; empty if it was not trained here.
    """

    name: str
    group: str
    seed: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    training: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything that tables and claims of a study read.

    Attributes:
        parts: Name -> what the comparison of that name found.
        networks: Name -> network, of all parts.
        analyses: Name -> what else was computed.
    """

    parts: Mapping[str, ComparisonTable]
    networks: Mapping[str, Network] = field(default_factory=dict)
    analyses: Mapping[str, Records] = field(default_factory=dict)

    def part(self, name: str) -> ComparisonTable:
        """Return the table of a part.

        Raises:
            ValueError: If there is no such part.
        """
        check_choice(name, tuple(self.parts), "part")
        return self.parts[name]

    def group(self, model: str) -> str:
        """Return the name that a model shares with its trainings from other seeds; its own if it has none."""
        return self.networks[model].group if model in self.networks else model
