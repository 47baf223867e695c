"""A paper as a study: which comparisons it takes, which tables it prints, what it claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lightning_xai._checks import check_choice, check_count
from lightning_xai.comparison.storage.lease import SECONDS, Leases
from lightning_xai.studies.analysis import Analysis, AnalysisContext
from lightning_xai.studies.claim import Claim
from lightning_xai.studies.declaration import folder_of, read_declaration
from lightning_xai.studies.findings import Findings, Network
from lightning_xai.studies.part import Part
from lightning_xai.studies.reporting.derived_table import DerivedTable
from lightning_xai.studies.reporting.figure import StudyFigure
from lightning_xai.studies.reporting.paper_table import PaperTable
from lightning_xai.studies.reporting.printed import Printed, read_printed
from lightning_xai.studies.result import StudyResult
from lightning_xai.studies.training.recipe import Recipe, recipe_families
from lightning_xai.studies.training.trained_networks import TrainedNetworks

_KEYS = (
    "title",
    "source",
    "summary",
    "scale",
    "anchors",  # what YAML refers to from several places
    "recipes",
    "parts",
    "analyses",
    "tables",
    "figures",
    "claims",
    "open_settings",
    "faults",
)


@dataclass(frozen=True)
class Study:
    """A paper as comparisons, tables, figures and claims, at a scale.

    Attributes:
        name: Such as ``hirescam``.
        title: Of the paper, in short.
        source: Authors, year, where it is.
        scale: ``"small"``: minutes on two cores, offline; ``"medium"``: overnight, with more trainings; ``"paper"``:
            the paper's own networks, data and numbers.
        summary: What this scale runs, in a sentence.
        recipes: Networks that are trained, by name.
        parts: Comparisons, by name.
        analyses: What else is computed, by name.
        tables: Layouts of the paper's tables: a `PaperTable`, or with a ``function`` a `DerivedTable`.
        figures: Its figures.
        claims: What it claims.
        open_settings: What the paper does not tell, with the choice that was made.
        faults: What is wrong in the paper.
        printed: Its numbers.
    """

    name: str
    title: str
    source: str
    scale: str
    summary: str
    recipes: Mapping[str, Recipe]
    parts: Mapping[str, Part]
    analyses: Mapping[str, Analysis]
    tables: tuple[PaperTable | DerivedTable, ...]
    figures: tuple[StudyFigure, ...]
    claims: tuple[Claim, ...]
    open_settings: tuple[str, ...]
    faults: tuple[str, ...]
    printed: Printed

    @classmethod
    def load(
        cls,
        study: str | Path,
        scale: str = "small",
        *,
        data: str | Path | None = None,
        download: bool = False,
        limit: int | None = None,
        seeds: int | None = None,
        only: Sequence[str] = (),
    ) -> Study:
        """Return a study as it is declared.

        Args:
            study: One of `list_studies`, or a folder with a ``study.yaml`` like theirs.
            scale: See `Study`.
            data: Folder of the paper's data, for scales that need it.
            download: Whether data and weights may be downloaded.
            limit: At most so many images of each data.
            seeds: So many trainings of each recipe, instead of the declared number.
            only: Tables, figures or claims, and what they need; everything if empty.

        Raises:
            ValueError: If a name is unknown, or the scale needs ``data``.
        """
        folder = folder_of(study)
        declared = read_declaration(folder, scale, {"data": data, "download": download})
        for key in declared:
            check_choice(key, _KEYS, f"a key of the study {folder.name!r}")
        families = recipe_families(declared.get("recipes", {}))
        changes: dict[str, Any] = {} if seeds is None else {"seeds": check_seeds(seeds)}
        parts = {
            name: _limited(Part.of(name, one, families), limit, changes) for name, one in declared["parts"].items()
        }
        path = folder / "printed.csv"
        made = cls(
            name=folder.name,
            title=declared["title"],
            source=declared["source"],
            scale=scale,
            summary=declared["summary"],
            recipes={name: one for family in families.values() for name, one in family.items()},
            parts=parts,
            analyses={name: Analysis(name, **one) for name, one in declared.get("analyses", {}).items()},
            tables=tuple(_table(name, one) for name, one in declared.get("tables", {}).items()),
            figures=tuple(StudyFigure(name, **one) for name, one in declared.get("figures", {}).items()),
            claims=tuple(Claim(name, **one) for name, one in declared.get("claims", {}).items()),
            open_settings=tuple(declared.get("open_settings", ())),
            faults=tuple(declared.get("faults", ())),
            printed=read_printed(path) if path.is_file() else {},
        )
        made.check()
        return made.narrowed(only) if only else made

    def check(self) -> None:
        """Raise ValueError if a table, figure or claim reads what the study does not compute."""
        for table in self.tables:
            known = self.parts if isinstance(table, PaperTable) else {**self.parts, **self.analyses}
            for name in table.reads:
                check_choice(name, tuple(known), f"part of {table.name}")
        for figure in self.figures:
            for name, there in ((figure.part, self.parts), (figure.analysis, self.analyses)):
                if name:
                    check_choice(name, tuple(there), f"what {figure.name} reads")
        for claim in self.claims:
            self._check_claim(claim)

    def _check_claim(self, claim: Claim) -> None:
        claim.function  # noqa: B018 - an unknown predicate is an error before anything runs
        for name in claim.parts:
            check_choice(name, (*self.parts, *self.analyses), f"what {claim.name} reads")
        part, metric = self.parts.get(str(claim.arguments.get("part"))), claim.arguments.get("metric", ())
        for name in [metric] if isinstance(metric, str) else metric:
            if part is not None:
                check_choice(name, tuple(part.metrics), f"a metric of {claim.name}")

    def narrowed(self, only: Sequence[str]) -> Study:
        """Return the study with some tables, figures and claims, and the parts and analyses that they read."""
        named: dict[str, frozenset[str]] = {one.name: one.reads for one in self.tables}
        named |= {one.name: frozenset({one.part, one.analysis}) for one in self.figures}
        named |= {one.name: one.parts for one in self.claims}
        for name in only:
            check_choice(name, tuple(named), "only")
        read = frozenset().union(*(named[name] for name in only))
        return replace(
            self,
            parts={name: one for name, one in self.parts.items() if name in read},
            analyses={name: one for name, one in self.analyses.items() if name in read},
            tables=tuple(one for one in self.tables if one.name in only),
            figures=tuple(one for one in self.figures if one.name in only),
            claims=tuple(one for one in self.claims if one.name in only),
        )

    def recipes_to_train(self) -> dict[str, Recipe]:
        """Return the recipes of all parts with their seeds, by name."""
        return {f"{self.name} {one.name}": one.recipe for part in self.parts.values() for one in part.trained()}

    def run(
        self,
        output: str | Path,
        *,
        networks: str | Path | None = None,
        device: str | torch.device | None = None,
        lease: float = SECONDS,
        progress: bool = True,
        told: Callable[[str], object] = lambda _: None,
    ) -> StudyResult:
        """Train, explain, score and judge what is not there yet, and return everything.

        Started several times with one folder, processes share the work; one that was killed goes on.

        Args:
            output: Folder of values and heatmaps; nothing that is finished is computed again.
            networks: Folder of trained networks, which studies may share; ``networks`` in ``output`` if None.
            device: Where models run; the CPU if None.
            lease: Seconds after which the work of a process that died is taken over.
            progress: Whether bars are shown, on a terminal only.
            told: Called with a line at each step.
        """
        folder = Path(output)
        kept = TrainedNetworks(networks or folder / "networks", lease, told)
        kept.prepare(self.recipes_to_train())
        tables, known = {}, dict[str, Network]()
        for name, part in self.parts.items():
            told(f"comparing {name}")
            tables[name] = part.run(kept, folder, device=device, lease=lease, progress=progress)
            known |= part.networks(kept)
        place = None if device is None else torch.device(device)
        context = AnalysisContext(kept, self.recipes, self.parts, Findings(tables, known), place)
        leases = Leases(folder / "claims", lease)
        analyses = {}
        for name, analysis in self.analyses.items():
            told(f"computing {name}")
            analyses[name] = analysis.run(context, folder / "analyses", leases)
        return StudyResult(self, Findings(tables, known, analyses))


def check_seeds(seeds: int) -> int:
    """Return a number of trainings.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is below 1.
    """
    check_count(seeds, "seeds")
    return seeds


def _table(name: str, declared: Mapping[str, Any]) -> PaperTable | DerivedTable:
    return DerivedTable(name, **declared) if "function" in declared else PaperTable(name, **declared)


def _limited(part: Part, limit: int | None, changes: Mapping[str, Any]) -> Part:
    if limit is not None:
        check_count(limit, "limit")
        part = replace(part, num_images=limit if part.num_images is None else min(limit, part.num_images))
    return replace(part, **changes) if part.recipes else part
