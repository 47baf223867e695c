"""What a study found, as tables, figures, verdicts and a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_xai._checks import check_choice
from lightning_xai.comparison.records import Records
from lightning_xai.loggers.files import write_file
from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.reporting.figure import as_png

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from lightning_xai.studies.study import Study

_WIDEST = 100_000  # columns of a terminal


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study found.

    Attributes:
        study: What was asked.
        findings: The numbers.
    """

    study: Study
    findings: Findings

    @property
    def title(self) -> str:
        """The paper and the scale, which decides what the numbers may be held against."""
        return f"{self.study.title} ({self.study.scale} scale)"

    @cached_property
    def tables(self) -> dict[str, Records]:
        """The tables of the paper by name: ours, the paper's numbers, the difference."""
        found, paper = self.findings, self.study.printed
        return {one.name: one.filled(found, paper.get(one.printed or one.name, {})) for one in self.study.tables}

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """What the numbers say about each claim, by its name."""
        return {claim.name: claim.judged(self.findings) for claim in self.study.claims}

    @property
    def errors(self) -> tuple[str, ...]:
        """What failed, in words."""
        return tuple(
            f"{part}: {failure.cell}, {failure.metric}: {failure.reason}"
            for part, table in self.findings.parts.items()
            for failure in table.errors
        )

    def table(self, name: str) -> Records:
        """Return a table of the paper.

        Raises:
            ValueError: If there is none of this name.
        """
        check_choice(name, tuple(self.tables), "name")
        return self.tables[name]

    @property
    def claims(self) -> Records:
        """The verdicts as a table."""
        rows = [
            (one.name, one.says, one.lines, self.verdicts[one.name].outcome, self.verdicts[one.name].why, one.note)
            for one in self.study.claims
        ]
        columns = ("claim", "what the paper says", "lines", "verdict", "numbers", "note")
        return Records(columns, tuple(rows), f"{self.title}: claims")

    @property
    def networks(self) -> Records:
        """The trained networks and their scores on test images."""
        trained = [one for one in self.findings.networks.values() if one.scores]
        names = list(dict.fromkeys(name for one in trained for name in one.scores))
        rows = tuple((one.name, *(float(one.scores[name]) for name in names)) for one in trained)
        return Records(("network", *names), rows, "On test images")

    def analyses(self) -> Sequence[Records]:
        """Return what else was computed, where it has a title."""
        found = self.findings.analyses
        shown = [(found[name], one.title) for name, one in self.study.analyses.items() if one.title]
        return [Records(one.columns, one.rows, title, one.notes) for one, title in shown]

    def write(self, folder: str | Path) -> Path:
        """Write tables (Markdown, LaTeX, CSV), figures, ``claims.md`` and ``report.html``; return the report's path."""
        from lightning_xai.studies.reporting.page import page

        folder = Path(folder)
        for name, table in self.tables.items():
            write_file(folder / f"{name}.md", f"{table.to_markdown()}\n".encode())
            write_file(folder / f"{name}.tex", f"{table.to_latex()}\n".encode())
            table.to_csv(folder / f"{name}.csv")
        figures = {one.name: as_png(one.drawn(self.findings)) for one in self.study.figures}
        for name, content in figures.items():
            write_file(folder / f"{name}.png", content)
        for name, part in self.findings.parts.items():
            part.to_csv(folder / f"values_{name}.csv")
        write_file(folder / "claims.md", f"{self.claims.to_markdown()}\n".encode())
        write_file(folder / "report.html", page(self, figures).encode())
        return folder / "report.html"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield tables and verdicts for a terminal; of a table that is wider, the name of its file."""
        from rich.measure import Measurement

        unbounded = options.update(max_width=_WIDEST)
        yield self.title
        for name, table in self.tables.items():
            shown = table.__rich__()
            is_wide = Measurement.get(console, unbounded, shown).maximum > options.max_width
            yield f"{table.title}\n(wider than this terminal: see {name}.md)\n" if is_wide else shown
        rows = tuple((one.name, self.verdicts[one.name].outcome, one.says) for one in self.study.claims)
        yield Records(("claim", "verdict", "what the paper says"), rows)
